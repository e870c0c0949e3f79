"""Train candidates on other machines by ssh, several at the same time; the search stays here.

    python -m examples.two_machines me@gpu1.example.org me@gpu2.example.org --key ~/.ssh/id_ed25519 --python ~/venv/bin

Every machine needs a python with nni_hypens; `remote/README.md` next to this file says what else, and what NNI does
there. nni_hypens logs in to each machine before any long work starts. It fetches finished candidates, checks them and
keeps them in the run folder, so an interrupted run can continue, here or there.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from nni.experiment.config import RemoteConfig, RemoteMachineConfig

from nni_hypens import ImageData, InputError, image_evaluator, search_ensemble
from search_spaces import OneCell

CODE = Path(__file__).parent / "remote" / "code"
"""The folder that NNI uploads: your own modules that trials import, and no secrets."""


def machine(text: str, key: Path, python: Path) -> RemoteMachineConfig:
    """NNI's configuration for `USER@HOST` or `USER@HOST:PORT`."""
    found = re.fullmatch(r"([^@:]+)@([^@:]+)(?::(\d+))?", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"machine: got {text!r}; expected USER@HOST or USER@HOST:PORT")
    user, host, port = found.groups()
    return RemoteMachineConfig(
        host=host, port=int(port or 22), user=user, ssh_key_file=str(key.expanduser()), python_path=str(python)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Train candidates on other machines, by ssh.")
    parser.add_argument("machines", nargs="+", metavar="USER@HOST[:PORT]")
    parser.add_argument(
        "--key", type=Path, required=True, help="private key without a passphrase, made for this purpose"
    )
    parser.add_argument("--python", type=Path, required=True, help="folder of python there, not python itself")
    parser.add_argument(
        "--manager", default="127.0.0.1", help="address of this machine as they see it (127.0.0.1 with a tunnel)"
    )
    parser.add_argument("--quick", action="store_true", help="two candidates per machine, one epoch")
    parser.add_argument("--out", type=Path, help="run folder (default: runs/two_machines)")
    arguments = parser.parse_args()
    quick, count = arguments.quick, len(arguments.machines)
    try:
        service = RemoteConfig(
            machine_list=[machine(text, arguments.key, arguments.python) for text in arguments.machines],
            nni_manager_ip=arguments.manager,
            trial_code_directory=str(CODE),
        )
        data = ImageData("digits", train_size=200 if quick else None)
        result = search_ensemble(
            OneCell(channels=2 if quick else 8, in_channels=1),
            image_evaluator(data, num_classes=10, epochs=1 if quick else 20),
            data,
            arguments.out or Path("runs/two_machines-quick" if quick else "runs/two_machines"),
            search_evaluator=image_evaluator(data, num_classes=10, epochs=4 if quick else 60),
            members=2 if quick else 3,
            candidates=2 * count if quick else 12,
            concurrency=count,
            training_service=service,
            stress_images=0 if quick else 256,
            quiet=quick,
        )
    except (InputError, argparse.ArgumentTypeError) as error:
        parser.error(str(error))
    print(result.candidates[["id", "lam", "shared_edges", "test.nll"]].to_string(index=False))
    print(result.metrics.round(4).to_string())


if __name__ == "__main__":
    main()
