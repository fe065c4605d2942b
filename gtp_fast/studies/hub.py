"""Policies on the Hugging Face hub: pushed with their card, pulled and checked.

`huggingface_hub` finds the token of `hf auth login` or HF_TOKEN; nothing here reads it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from gtp_fast.errors import UserError, first_line
from gtp_fast.policy import file as packed
from gtp_fast.policy import restore
from gtp_fast.runs import open_run, plain
from gtp_fast.studies import card
from gtp_fast.system.files import temporary_folder, unwritable, write_atomically

POLICY, CONFIG, CARD = "policy.gtp", "config.yaml", "README.md"
_MOST_BYTES = 1 << 30
"""No policy file is larger: its reader knows at most 16,384 x 8,192 weights."""


def push(
    run: str, repo: str, *, seed_index: int = 0, checkpoint: str = "last", private: bool = False
) -> str:
    """Upload the policy of one seed, its configuration and its card; return where they are.

    run: run folder. repo: owner/name, made if it is not there. UserError when the run has no such
    policy, or the hub refuses.
    """
    api = _api()
    opened = open_run(run)
    agent, saved = restore.restore(opened, checkpoint)
    index = restore.index_of(agent, saved, seed_index)
    content = restore.pack(agent, saved, index, None, None)
    config = plain(card.published(opened.config()))
    with temporary_folder() as hidden:
        folder = Path(hidden)
        (folder / POLICY).write_bytes(packed.pack(content))
        (folder / CONFIG).write_text(yaml.safe_dump(config, sort_keys=False))
        (folder / CARD).write_text(card.text(opened, content, repo))
        about = content.description
        with _asking(
            f"{repo} could not be written", "log in by `hf auth login`, check name and network"
        ):
            api.create_repo(repo, private=private, repo_type="model", exist_ok=True)
            done = api.upload_folder(
                repo_id=repo, folder_path=folder, repo_type="model",
                commit_message=f"{about['agent']} on {about['task']}, update {about['step']}",
            )  # fmt: skip
    return str(getattr(done, "commit_url", done))


def pull(repo: str, out: str, *, revision: str | None = None) -> packed.Packed:
    """Download a policy with its configuration and card into a folder; return what it holds.

    The policy is checked before anything is kept. revision: branch, tag or commit. UserError when
    there is no whole policy, or the folder has files of these names.
    """
    api, folder = _api(), Path(out)
    if there := [name for name in (POLICY, CONFIG, CARD) if (folder / name).exists()]:
        raise UserError(f"{folder} has {', '.join(there)} already: choose another folder.")
    with temporary_folder() as hidden:
        place = {"revision": revision, "local_dir": hidden, "repo_type": "model"}
        with _asking(
            f"{repo} could not be read", "check name, revision and network, or `hf auth login`"
        ):
            listed = set(api.list_repo_files(repo, revision=revision, repo_type="model"))
            if POLICY not in listed:
                raise UserError(f"{repo} has no {POLICY}: name what `gtp_fast push` has made.")
            wanted = [name for name in (POLICY, CONFIG, CARD) if name in listed]
            found = {n: Path(api.hf_hub_download(repo, n, **place)) for n in wanted}
        data = {name: _bytes(path, repo) for name, path in found.items()}
        try:
            content = packed.unpack(data[POLICY])
        except ValueError as error:
            raise UserError(
                f"{POLICY} of {repo} {error}: ask its owner to push it again."
            ) from None
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(unwritable(folder, error)) from error
    for name, kept in data.items():
        write_atomically(folder / name, kept)
    return content


def _bytes(path: Path, repo: str) -> bytes:
    if path.stat().st_size > _MOST_BYTES:
        raise UserError(f"{path.name} of {repo} is too large for a policy: it was not read.")
    return path.read_bytes()


def _api() -> Any:
    """Return the client of the hub; UserError where it is not installed."""
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise UserError("The hub needs huggingface_hub: pip install 'gtp_fast[hub]'.") from error
    return HfApi(library_name="gtp_fast")


@contextmanager
def _asking(what: str, mend: str) -> Iterator[None]:
    """Turn whatever the client or the network raises into one sentence."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{what} ({first_line(error)}): {mend}.") from error
