worker_class = "gthread"
threads = 6
# Where it listens is the lab's to say.
bind = "0.0.0.0:1"
