"""Which variant a user gets: a function of salt, experiment and user alone, the same in every process and language."""

import hashlib
from typing import Literal

from torchfinch.errors import TorchfinchError

Variant = Literal["control", "treatment"]
BUCKETS = 10_000


def bucket_of(user: str, *, experiment: str, salt: str) -> int:
    """The user's bucket, 0 to 9,999.

    The first 8 hexadecimal digits of SHA-256 over `salt:experiment:user` in UTF-8, as a number, modulo 10,000. The
    user's text is taken as it is: `Ada` and `ada` are two users.

    Raises:
        TorchfinchError: the user is not a text, is empty, or cannot be written in UTF-8.
    """
    if not isinstance(user, str) or not user:
        raise TorchfinchError(f"{user!r} is no user id", "give a text; new_user_id() makes one for an unknown visitor")
    try:
        key = f"{salt}:{experiment}:{user}".encode()
    except UnicodeEncodeError as error:
        raise TorchfinchError(
            f"{user!r} is no user id: it cannot be written in UTF-8", "send whole characters"
        ) from error
    return int(hashlib.sha256(key).hexdigest()[:8], 16) % BUCKETS


def variant_of(bucket: int, *, share: float) -> Variant:
    """The variant of a bucket where `share` of the users get the treatment.

    The treatment has the lowest buckets, so that a growing share moves users from control to treatment only.
    """
    return "treatment" if bucket < round(share * BUCKETS) else "control"
