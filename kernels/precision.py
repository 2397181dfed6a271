"""What a formula asks of its precision: constants by type, the bits of a number, polynomials.

The rule: all of it compiles to a few machine instructions in the precision of x, for any vector
width: integers are as wide as x (int32 beside float32), and nothing converts between the two.
"""

from numba import types
from numba.extending import intrinsic

from .caching import jit

_INTEGERS = {types.float32: types.int32, types.float64: types.int64}


@intrinsic
def choose(typing, x, single, double):
    """Return `single` where x is float32, `double` where it is float64, as numbers of x's kind.

    A float becomes x's type, an integer one as wide as x, a tuple of floats a tuple of such.
    The function that asks is a formula, or a piece of one: it is marked to be inlined always, as a
    loop with a call left in it does not vectorise (erfc, the longest: 16 ns an element, else 1.0).
    """
    if x not in _INTEGERS:
        return None
    index = 1 if x == types.float32 else 2
    given = types.unliteral((single, double)[index - 1])
    kind = _INTEGERS[x] if isinstance(given, types.Integer) else x
    if isinstance(given, types.BaseTuple):
        kind = types.UniTuple(x, len(given))

    def codegen(context, builder, signature, args):
        builder.function.attributes.add("alwaysinline")
        return context.cast(builder, args[index], signature.args[index], kind)

    return kind(x, single, double), codegen


@intrinsic
def bits(typing, x):
    """Return the bits of x as an integer of its width."""
    if x not in _INTEGERS:
        return None

    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], context.get_value_type(signature.return_type))

    return _INTEGERS[x](x), codegen


@intrinsic
def from_bits(typing, integer, like):
    """Return the number of the type of `like` with these bits (the low ones of a wider integer)."""
    if like not in _INTEGERS or not isinstance(integer, types.Integer):
        return None
    kind = _INTEGERS[like]

    def codegen(context, builder, signature, args):
        narrow = context.cast(builder, args[0], signature.args[0], kind)
        return builder.bitcast(narrow, context.get_value_type(like))

    return like(integer, like), codegen


@intrinsic
def narrow(typing, integer, like):
    """Return an integer as wide as `like`: Numba's sums and shifts of int32 are int64.

    Needed where such a sum is used twice, as the compiler then keeps it wide (exp: 0.41 -> 0.2 ns).
    """
    if like not in _INTEGERS or not isinstance(integer, types.Integer):
        return None
    kind = _INTEGERS[like]

    def codegen(context, builder, signature, args):
        return context.cast(builder, args[0], signature.args[0], kind)

    return kind(integer, like), codegen


@intrinsic
def polynomial(typing, x, coefficients):
    """Return Σ coefficients[k]·xᵏ by Horner's rule; coefficients are constants, lowest first.

    Summing even and odd powers apart shortens the chain and gains nothing: other elements fill the
    wait.
    """
    if x not in _INTEGERS or not isinstance(coefficients, types.UniTuple):
        return None

    def codegen(context, builder, signature, args):
        kind = signature.args[1].dtype
        given = [builder.extract_value(args[1], k) for k in range(len(signature.args[1]))]
        values = [context.cast(builder, value, kind, x) for value in given]
        total = values.pop()
        while values:  # contracted: one fused multiply-add a step where the machine has it
            product = builder.fmul(total, args[0], flags=("contract",))
            total = builder.fadd(product, values.pop(), flags=("contract",))
        return total

    return x(x, coefficients), codegen


@intrinsic
def fused(typing, x, y, z):
    """Return x·y + z, rounded once: where several products are added, the compiler chooses anew."""
    if x not in _INTEGERS or not x == y == z:
        return None

    def codegen(context, builder, signature, args):
        return builder.fma(*args)

    return x(x, y, z), codegen


@jit(inner=True)
def magnitude(x):
    """Return |x|."""
    return from_bits(bits(x) & choose(x, 0x7FFFFFFF, 0x7FFFFFFFFFFFFFFF), x)


@jit(inner=True)
def with_sign(x, sign):
    """Return x ≥ 0 with the sign of `sign`, that of zero included."""
    return from_bits(bits(x) | (bits(sign) & choose(x, -(2**31), -(2**63))), x)
