# SPDX-License-Identifier: Apache-2.0
"""A program that serve-python.yaml serves: Python's standard library and nothing else.

raywf says where to listen: the Unix socket in RAYWF_SOCKET (or the port in PORT), and speaks
plain HTTP to it. Anything that listens there will do.
"""
import http.server
import json
import os
import signal
import socketserver
import sys


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept

    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        if self.path == "/health":
            self.answer(200, {"status": "ok"})
        elif self.path == "/whoami":
            self.answer(200, {"pid": os.getpid()})
        else:
            self.answer(404, {"error": "there is only /health, /whoami and POST /"})

    def do_POST(self):
        size = int(self.headers.get("Content-Length", 0))
        try:
            numbers = json.loads(self.rfile.read(size))
            self.answer(200, {"sum": sum(numbers), "greeting": os.environ["GREETING"]})
        except (ValueError, TypeError) as wrong:
            self.answer(400, {"error": str(wrong)})

    def address_string(self):  # a Unix socket has no peer to name
        return "raywf"

    def log_message(self, text, *values):
        print(text % values, file=sys.stderr, flush=True)


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 128


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
Server(os.environ["RAYWF_SOCKET"], Handler).serve_forever()
