"""The exception tree: one class per situation that a caller can act on."""


class LipverifyError(Exception):
    """Anything that lipverify raises on purpose."""


class InputError(LipverifyError):
    """A file or an argument given by the user cannot be used (exit code 3)."""


class SpecError(InputError):
    """A spec file is missing, malformed or contradicts its network.

    `path` and `line` (1-based, or None where no line applies) say where.
    """

    def __init__(self, message: str, path: object = None, line: int | None = None) -> None:
        self.path = None if path is None else str(path)
        self.line = line
        where = "" if path is None else f"{path}: " if line is None else f"{path}:{line}: "
        super().__init__(where + message)


class NetworkError(InputError):
    """A network file or module cannot be read."""


class UnsupportedOperator(NetworkError):
    """The network holds an operator, or a use of one, that lipverify does not bound."""


class NetworkMismatch(NetworkError):
    """Our graph and the original network disagree at a point."""


class RegionError(InputError):
    """A region of inputs is malformed (NaN, lower > upper, radius < 0, wrong length)."""


class EmptyRegion(RegionError):
    """A region of inputs holds no point."""


class UnsupportedNorm(InputError):
    """A norm is not offered here."""


class UnknownMethod(InputError):
    """A bounding method is not offered here."""


class UnknownBranching(InputError):
    """A branching heuristic is not offered here."""


class CheckpointError(InputError):
    """A checkpoint cannot be used: damaged, of another question, in the way, or not writable."""


class CertificateError(InputError):
    """Certificates cannot be written where they are asked for."""


class MissingDependency(InputError):
    """An optional package is needed; the message holds the command that installs it."""


class InvertedInterval(LipverifyError):
    """An interval with lower > upper, or with NaN in it."""


class OutOfDomain(LipverifyError):
    """A value lies where an operator has no finite bound."""


class OutOfTime(LipverifyError):
    """A piece of work was left because its `stop` said so; nothing of it is kept."""


class NumericalFailure(LipverifyError):
    """Floating-point arithmetic broke down (overflow, NaN); no bound may be derived."""


class UnsupportedCertificate(LipverifyError):
    """No certificate can be written for this answer; the message says why."""
