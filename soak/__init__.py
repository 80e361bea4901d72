"""
Endurance: the real bot and the twin as processes of their own, with a proxy of ours between them
that breaks connections, and a judge that compares the exchange's books with the bot's journal.
"""
