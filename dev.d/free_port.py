"""free_port.py DEFAULT: that port of the loopback, or a free one when it is taken; for TCP and UDP."""
import socket, sys
for port in (int(sys.argv[1]), 0):
    with socket.socket() as t, socket.socket(type=socket.SOCK_DGRAM) as u:
        try:
            t.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            t.bind(("127.0.0.1", port))
            u.bind(("127.0.0.1", t.getsockname()[1]))
            print(t.getsockname()[1])
            break
        except OSError:
            pass
