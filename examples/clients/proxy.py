"""A proxy between clients and a server, on Unix sockets, that loses connections where the client's request_id asks for it:

    lost-call-…      the connection is closed, and the call never reaches the server
    lost-answer-…    the server commits, and the connection is closed before its answer is passed on
    ended-…          the server ends the session (57P01), at COMMIT before it commits, else while it does

each once for a request_id: at COMMIT, or, where no transaction is open, at the call itself.
"""
import re
import socket
import struct
import threading

FAULT = re.compile(rb'(lost-call|lost-answer|ended)-[\w.-]+')
KEY_DATA, READY = b'K\x00\x00\x00\x0c', b'Z\x00\x00\x00\x05'


class Proxy:
    def __init__(self, folder, server, end_session):
        """end_session(pid) ends a session and returns when it is gone."""
        self.server, self.end_session = f'{server}/.s.PGSQL.5432', end_session
        self.done, self.lock = set(), threading.Lock()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(f'{folder}/.s.PGSQL.5432')
        self.listener.listen(100)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            Connection(self, self.listener.accept()[0])

    def fault_in(self, data):
        """The fault that this message asks for, where it has not had it yet."""
        found = FAULT.search(data)
        with self.lock:
            if not found or found.group() in self.done:
                return None
            self.done.add(found.group())
            return found.group(1).decode()


class Connection:
    def __init__(self, proxy, client):
        self.proxy, self.client, self.server = proxy, client, socket.socket(socket.AF_UNIX)
        self.server.connect(proxy.server)
        self.fault, self.pid, self.in_transaction, self.mute, self.ended = None, None, False, False, False
        for work in (self.calls, self.answers):
            threading.Thread(target=self.run, args=(work,), daemon=True).start()

    def run(self, work):
        try:
            work()
        except OSError:
            pass
        if self.ended and work == self.calls:
            return              # what the server says to it is still to come
        for end in (self.client, self.server):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def calls(self):
        while data := self.client.recv(65536):
            self.fault = self.proxy.fault_in(data) or self.fault
            if not self.fault or (self.in_transaction and b'COMMIT' not in data.upper()):
                self.server.sendall(data)
            elif self.fault == 'lost-call':
                return
            elif self.fault == 'lost-answer':
                self.mute = True
                self.server.sendall(data)
            else:
                self.ended = True
                if not self.in_transaction:
                    self.server.sendall(data)
                self.proxy.end_session(self.pid)
                return

    def answers(self):
        begun = b''
        while data := self.server.recv(65536):
            if self.pid is None:
                begun += data
                if KEY_DATA in begun:
                    at = begun.index(KEY_DATA) + len(KEY_DATA)
                    self.pid = struct.unpack('!i', begun[at:at + 4])[0]
            if self.mute:
                return          # it has answered, so it has committed
            if data[-6:-1] == READY:
                self.in_transaction = data[-1:] != b'I'
            self.client.sendall(data)
