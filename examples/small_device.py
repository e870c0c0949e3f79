"""An ensemble for a small device, with limits for each network and for all members together.

    python -m examples.small_device --total-params 4000 --latency-ms 5

`max_params` limits every sampled architecture and the base. `max_total_params`, `max_total_flops` and
`max_latency_ms` limit the sum over the members, when members are chosen on validation data. If no ensemble satisfies
the limits, the error names the cheapest possible ensemble.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from nni_hypens import ImageData, InputError, image_evaluator, search_ensemble
from search_spaces import OneCell


def main() -> None:
    parser = argparse.ArgumentParser(description="An ensemble within limits on parameters, FLOPs and latency.")
    parser.add_argument("--params", type=float, default=2000, help="maximum parameters of one network")
    parser.add_argument("--total-params", type=float, default=4000, help="maximum parameters of all members together")
    parser.add_argument("--total-flops", type=float, default=1e6, help="maximum FLOPs of all members for one image")
    parser.add_argument(
        "--latency-ms", type=float, default=20, help="maximum ms of all members for one image, one thread"
    )
    parser.add_argument("--quick", action="store_true", help="two members, a few epochs")
    parser.add_argument("--out", type=Path, help="run folder (default: runs/small_device)")
    arguments = parser.parse_args()
    quick = arguments.quick

    data = ImageData("digits", train_size=300 if quick else None)
    try:
        result = search_ensemble(
            OneCell(channels=6, in_channels=1),
            image_evaluator(data, num_classes=10, epochs=6 if quick else 20),
            data,
            arguments.out or Path("runs/small_device-quick" if quick else "runs/small_device"),
            search_evaluator=image_evaluator(data, num_classes=10, epochs=4 if quick else 40),
            members=2 if quick else 3,
            candidates=3 if quick else 8,
            per_trial=3 if quick else 1,
            max_params=arguments.params,
            max_total_params=arguments.total_params,
            max_total_flops=arguments.total_flops,
            max_latency_ms=arguments.latency_ms,
            stress_images=0 if quick else 256,
            quiet=quick,
        )
    except InputError as error:
        parser.error(str(error))
    members = result.candidates.set_index("id").loc[result.members["id"], ["parameters", "flops", "latency_ms"]]
    print(members.to_string())
    print(f"together: {members['parameters'].sum()} parameters, {members['flops'].sum()} FLOPs, ", end="")
    print(f"{members['latency_ms'].sum():.2f} ms")
    print("validation NLL that a higher cost would give:")
    print(result.cost_front[["by", "members", "parameters", "flops", "validation_nll"]].to_string(index=False))


if __name__ == "__main__":
    main()
