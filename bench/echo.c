/*
 * The least a program can do with a frame: read it from a TCP socket and write it back.
 * Prints its port, serves one connection, ends with it.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

int main(void) {
    struct sockaddr_in address = {0};
    socklen_t length = sizeof address;
    static char buffer[65536];
    int one = 1;
    int listener = socket(AF_INET, SOCK_STREAM, 0);

    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(listener, 1) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) != 0) {
        perror("echo");
        return 1;
    }
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);

    int peer = accept(listener, NULL, NULL);
    if (peer < 0 || setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0) {
        perror("echo");
        return 1;
    }
    for (;;) {
        ssize_t count = read(peer, buffer, sizeof buffer);
        if (count <= 0) {
            return count == 0 ? 0 : 1;
        }
        for (ssize_t done = 0; done < count;) {
            ssize_t written = write(peer, buffer + done, (size_t)(count - done));
            if (written <= 0) {
                return 1;
            }
            done += written;
        }
    }
}
