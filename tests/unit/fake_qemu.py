"""A QEMU that is none: speaks as much QMP as its first word says, and boots nothing.

ends      ends at once, with a word
taken     ends at once, because another has a port
silent    greets, takes what capabilities come, and then answers nothing
refuses   answers every command but `cont` with an error
quits     ends when it is asked for the guest's port
"""

import json
import re
import socket
import sys
from collections.abc import Iterator
from typing import Any

READY = b"devmodel-guest: ready\n"


def commands(sock: socket.socket) -> Iterator[dict[str, Any]]:
    """Objects as they come; nothing stands between them."""
    text = ""
    while data := sock.recv(4096):
        text += data.decode()
        while text:
            try:
                found, end = json.JSONDecoder().raw_decode(text)
            except ValueError:
                break
            yield found
            text = text[end:].lstrip()


def main() -> None:
    """Until the other side is gone."""
    mode, line = sys.argv[1], " ".join(sys.argv)
    if mode == "ends":
        sys.exit("fake QEMU: no such machine")
    if mode == "taken":
        sys.exit("fake QEMU: -netdev user: Could not set up host forwarding rule 'tcp::80-:80'")
    sockets = {
        name: socket.socket(fileno=int(re.search(rf"id={name},fd=(\d+)", line)[1]))  # type: ignore[index]
        for name in ("qmp", "console")
    }

    def say(**message: object) -> None:
        sockets["qmp"].sendall(json.dumps(message).encode() + b"\r\n")

    say(QMP={"version": {"qemu": {"micro": 0, "minor": 0, "major": 8}}, "capabilities": []})
    for command in commands(sockets["qmp"]):
        name, known = command["execute"], {key: command[key] for key in ("id",) if key in command}
        if name == "qmp_capabilities":
            say(**{"return": {}}, **known)
        elif name == "cont" and mode != "silent":
            say(**{"return": {}}, **known)
            sockets["console"].sendall(READY)
        elif mode == "refuses":
            say(error={"class": "GenericError", "desc": "not today"}, **known)
        elif mode == "quits":
            sys.exit("fake QEMU: out of luck")


if __name__ == "__main__":
    main()
