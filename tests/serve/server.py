"""A server in a process of its own: ``python server.py FOLDER SECONDS PORT``; tells its URL and what it imported."""

from __future__ import annotations

import sys

from luban.config import ServeConfig
from luban.errors import LubanError
from luban.stages.serve import Served, serve


def main(folder: str, seconds: str, port: str) -> int:
    served = Served.open(folder)
    if float(seconds):
        from tests.serve.models import slowed

        served, _ = slowed(served.path, float(seconds))  # type: ignore[arg-type]
    try:
        serve(
            {"desk": served},
            ServeConfig(port=int(port), drain=8.0, threads=1, batch_rows=1),
            ready=lambda url: print(url, flush=True),
        )
    except LubanError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    heavy = {"torch", "transformers", "datasets", "pandas", "sklearn", "onnx"} & set(sys.modules)
    print(f"heavy: {sorted(heavy)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
