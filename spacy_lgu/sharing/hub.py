"""What is asked of the hub, in both versions of its client, with errors that say what to do."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import (
    CommitInfo,
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    constants,
    get_token,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from ..decoder.source import NO_ANSWER, download


def check_repo_id(repo_id: str) -> None:
    """Raise ValueError for a name that is no OWNER/NAME."""
    owner, _, name = repo_id.partition("/")
    if not owner or not name or "/" in name or repo_id.startswith((".", "~", "/")):
        raise ValueError(
            f"{repo_id!r} is not a repository on the Hugging Face hub: expected OWNER/NAME, such "
            "as 'my-name/my_ner'."
        )


def check_login() -> str:
    """RETURNS (str): The name of the account. Raises OSError if there is none, or no network."""
    _check_online()
    if get_token() is None:
        raise OSError(
            "Nobody is logged in to the Hugging Face hub. Log in with `hf auth login`, or set "
            "HF_TOKEN to a token that may write."
        )
    with _explaining("the account"):
        name: str = HfApi().whoami()["name"]
    return name


def list_files(repo_id: str, revision: str | None) -> list[str] | None:
    """The files of a repository.

    repo_id (str): The repository.
    revision (str | None): Branch, tag or commit.
    RETURNS (list[str] | None): None: there is no such repository, or revision.
    """
    try:
        with _explaining(repo_id, missing_is_known=True):
            return HfApi().list_repo_files(repo_id, revision=revision)
    except (RepositoryNotFoundError, RevisionNotFoundError):
        return None


def is_private(repo_id: str) -> bool | None:
    """RETURNS (bool | None): None: there is no such repository."""
    try:
        with _explaining(repo_id, missing_is_known=True):
            return bool(HfApi().model_info(repo_id).private)
    except RepositoryNotFoundError:
        return None


def read_text(repo_id: str, name: str, revision: str | None) -> str:
    """RETURNS (str): A file of a repository, as it is now."""
    with _explaining(repo_id):
        return download(repo_id, name, revision=revision).read_text(encoding="utf8")


def find_commit(repo_id: str, revision: str | None) -> tuple[str, list[str]]:
    """The commit that a revision stands for now.

    repo_id (str): The repository.
    revision (str | None): Branch, tag or commit. None: the default branch.
    RETURNS (tuple[str, list[str]]): The commit, and its files. Raises ValueError or OSError that
        says what to do.
    """
    _check_online()
    with _explaining(repo_id, revision):
        info = HfApi().model_info(repo_id, revision=revision)
        if info.sha is None:
            raise ValueError(f"The repository {repo_id!r} has no commit yet: it is empty.")
        return info.sha, sorted(file.rfilename for file in info.siblings or ())


def fetch(repo_id: str, name: str, commit: str) -> Path:
    """RETURNS (Path): A file of a commit in the local cache. What is there is not downloaded again,
    and a download that was interrupted goes on."""
    with _explaining(repo_id, commit):
        return download(repo_id, name, revision=commit)


def commit_files(
    repo_id: str,
    added: Sequence[tuple[str, Path | bytes]],
    deleted: Sequence[str],
    *,
    message: str,
    private: bool,
    is_new: bool,
    revision: str | None,
    create_pr: bool,
) -> CommitInfo:
    """Send files in one commit: all of them arrive, or none.

    repo_id (str): The repository.
    added (Sequence): Paths in it, and the files or their content.
    deleted (Sequence[str]): Paths in it.
    message (str): Of the commit.
    private (bool): Whether a new repository is private.
    is_new (bool): Whether to make the repository.
    revision (str | None): The branch, which is made if it is missing.
    create_pr (bool): Whether to propose the commit instead of making it.
    RETURNS (CommitInfo): Where it is. Raises OSError that says what to do.
    """
    operations: list[Any] = [
        *(
            CommitOperationAdd(name, content if isinstance(content, bytes) else str(content))
            for name, content in added
        ),
        *(CommitOperationDelete(name) for name in deleted),
    ]
    api = HfApi()
    with _explaining(repo_id, revision):
        if is_new:
            api.create_repo(repo_id, private=private or None)  # None: the owner's default
        if revision is not None and not create_pr:
            api.create_branch(repo_id, branch=revision, exist_ok=True)
        try:
            return api.create_commit(
                repo_id,
                operations,
                commit_message=message,
                revision=revision,
                create_pr=create_pr,
            )
        except RuntimeError as error:  # by which the client tells that an upload failed
            raise OSError(
                f"{error} Nothing was committed to {repo_id!r}. Push again: what has arrived is "
                "not sent twice."
            ) from error


def _check_online() -> None:
    if constants.HF_HUB_OFFLINE:
        raise OSError(
            "The Hugging Face hub is needed, but HF_HUB_OFFLINE is set. Unset it, and try again."
        )


@contextmanager
def _explaining(
    what: str, revision: str | None = None, *, missing_is_known: bool = False
) -> Iterator[None]:
    try:
        yield
    except HFValidationError as error:
        raise ValueError(f"{what!r} is not a valid name on the hub: {error}") from error
    except GatedRepoError as error:
        raise OSError(
            f"The repository {what!r} is gated: accept its licence on its page, then log in with "
            "`hf auth login` or set HF_TOKEN to a token with access."
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        if missing_is_known:
            raise
        at = "" if revision is None else f" with the revision {revision!r}"
        raise ValueError(
            f"There is no repository {what!r}{at} that this account may see. Check the name; for a "
            "private repository log in, or set HF_TOKEN."
        ) from error
    except LocalEntryNotFoundError as error:
        raise _no_answer(what, error) from error
    except EntryNotFoundError as error:
        raise ValueError(f"The repository {what!r} lacks a file: {error}") from error
    except NO_ANSWER as error:
        if getattr(error, "response", None) is None:
            raise _no_answer(what, error) from error
        raise OSError(
            f"The Hugging Face hub refused what was asked about {what!r}: {error} If it is about "
            "rights, use a token that may write there, or --create-pr."
        ) from error


def _no_answer(what: str, error: Exception) -> OSError:
    return OSError(
        f"The Hugging Face hub did not answer about {what!r}: {error} Check the network, and try "
        "again; downloads go on where they were."
    )
