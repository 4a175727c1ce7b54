"""The same configuration and seed give the same bytes, whatever the cluster does."""

from pathlib import Path

from tests import running


def test_one_worker_gives_the_bytes_of_two_whatever_threads_the_user_asks_for(
    finished: Path, tmp_path: Path
) -> None:
    threads = {"OMP_NUM_THREADS": "2", "TF_NUM_INTRAOP_THREADS": "2"}
    ran = running.run(tmp_path / "artifacts", environment=threads, workers=1)
    assert ran.status == 0, ran.error
    assert running.hashes(tmp_path / "artifacts") == running.hashes(finished)


def test_points_submitted_in_reversed_order_give_the_same_bytes(
    finished: Path, tmp_path: Path
) -> None:
    ran = running.run(
        tmp_path / "artifacts",
        lr_sweep__learning_rates=running.SMALL["lr_sweep.learning_rates"][::-1],
        batch_sweep__batch_sizes=running.SMALL["batch_sweep.batch_sizes"][::-1],
        workers=2,
    )
    assert ran.status == 0, ran.error
    assert running.hashes(tmp_path / "artifacts") == running.hashes(finished)
