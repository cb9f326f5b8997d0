"""Pages that the generator gets."""

import socket
import threading

from wsgilab.load.pages import fetch


def test_what_is_no_http_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"220 mail.invalid ESMTP\r\n")

        serving = threading.Thread(target=serve)
        serving.start()
        answer = fetch(f"http://127.0.0.1:{listening.getsockname()[1]}/x")
        serving.join()

    assert (answer["status"], answer["body"].strip()) == (0, "220 mail.invalid ESMTP")
