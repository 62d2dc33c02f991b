"""The command `serve`: computes for other computers, until Ctrl-C."""

from __future__ import annotations

import argparse
import getpass
import logging
import socket

from napari_resunet.cli.common import add_device
from napari_resunet.remote.client import LOOPBACK
from napari_resunet.remote.key import (
    KEY_VARIABLE,
    key_from_environment,
    new_key,
    read_key_file,
)
from napari_resunet.session import flags

HOST, PORT = "127.0.0.1", 8787
READABLE = (
    "Everybody who can reach this address can read what is sent, also the key: use it only "
    "in a network in which you trust everybody, and the SSH tunnel otherwise."
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the command."""
    parser.epilog = (
        f"The key is that of --key-file, or else of the variable {KEY_VARIABLE}, or else "
        "a new one, which is printed."
    )
    parser.add_argument(
        "--host",
        default=HOST,
        help=f"address to listen at (default: {HOST}, for this computer and SSH tunnels)",
    )
    parser.add_argument("--port", type=flags.whole(0, 65535, str(PORT)), default=PORT)
    parser.add_argument(
        "--key-file",
        type=flags.path,
        metavar="FILE",
        help="file with the key in its first line, which nobody else may read",
    )
    add_device(parser)
    parser.set_defaults(run=_serve)


def _serve(arguments: argparse.Namespace) -> int:
    from napari_resunet.engine.device import choose
    from napari_resunet.remote.server import Service, listen, make_server
    from napari_resunet.session.api import load_model

    if not arguments.verbose:  # errors of the work are told to clients in one sentence
        logging.getLogger("napari_resunet").setLevel(logging.ERROR)
    known = _known_key(arguments)
    key = known or new_key()
    compute = choose(arguments.device)
    with listen(arguments.host, arguments.port) as opened:
        service = Service(compute, key)
        service.models.add(load_model())  # then no client has to send it
        port = opened.getsockname()[1]
        print(*_lines(arguments.host, port, compute.description), sep="\n")
        print(f"Key: {'as you gave it' if known else key}")
        print("Ctrl-C ends it.", flush=True)
        make_server(service).run(sockets=[opened])
    return 0


def _known_key(arguments: argparse.Namespace) -> str:
    if arguments.key_file is not None:
        return read_key_file(arguments.key_file)
    return key_from_environment()


def _lines(host: str, port: int, device: str) -> list[str]:
    """Say where the server is, and how to reach it."""
    inside = f"[{host}]" if ":" in host else host
    lines = [f"Computing on {device}, for clients of http://{inside}:{port}"]
    if host not in LOOPBACK:
        return [*lines, READABLE]
    tunnel = f"ssh -N -L {port}:{inside}:{port} {getpass.getuser()}@{socket.gethostname()}"
    return [
        *lines,
        "On the other computer, type this, and leave it open:",
        f"  {tunnel}",
        f"In its dock, choose Device, Remote…, and the address http://{HOST}:{port}",
    ]
