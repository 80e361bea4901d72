"""What a person sees of a running bot: log lines, heartbeat, alerts, the summary at the end."""
