"""What a request can be told. The class is the HTTP status; the message says what was wrong and what to do.

    HandlerError 500
    ├── BadRequest 400          bytes that are no image, base64 that is none
    ├── TooLarge 413            too many bytes, pixels or images
    ├── UnsupportedMedia 415    an image format that is not allowed
    ├── Unprocessable 422       a well-formed request that makes no sense
    └── Unavailable 503         the device is gone; another worker takes over

`ArchiveError` stands apart: it stops a worker from becoming ready, and no request ever sees it.
"""


class HandlerError(Exception):
    """One request or one instance failed; raise a subclass from `decode` or `encode` to choose its status."""

    status = 500

    @property
    def code(self) -> str:
        """The stable name of the error, for programs that read the answer."""
        return type(self).__name__


class BadRequest(HandlerError):  # noqa: N818 - named after the HTTP status
    """The bytes cannot be read as what they claim to be."""

    status = 400


class TooLarge(HandlerError):  # noqa: N818
    """An image, a request or its answer has more bytes, pixels or images than the archive allows."""

    status = 413


class UnsupportedMedia(HandlerError):  # noqa: N818
    """The image is in a format that the archive does not allow."""

    status = 415


class Unprocessable(HandlerError):  # noqa: N818
    """The request is well formed and asks for something that does not exist."""

    status = 422


class Unavailable(HandlerError):  # noqa: N818
    """This worker cannot answer any more; sending the request again reaches another one."""

    status = 503


class ArchiveError(Exception):
    """The archive cannot be served: a file is missing, broken, or disagrees with another one."""
