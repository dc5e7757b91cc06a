"""The third argument's account connects, and hands the socket to a process of the fourth's, which asks."""

import os, socket, sys
port, request, maker, holder = sys.argv[1:]
left, right = socket.socketpair()
if os.fork() == 0:
    right.close()
    os.setresuid(int(maker), int(maker), int(maker))
    made = socket.socket()
    made.connect(('127.0.0.1', int(port)))
    socket.send_fds(left, [b'x'], [made.fileno()])
    sys.exit()
left.close()
os.setresuid(int(holder), int(holder), int(holder))
handed = socket.socket(fileno=socket.recv_fds(right, 1, 1)[1][0])
handed.sendall(request.encode())
print(handed.recv(12).decode().split()[1], end='')
