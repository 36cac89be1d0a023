"""`try` statements catch what Python raises at the same place."""

import pytest

from tests.classes.plain import assert_same_as_python
from tests.classes.refused_texts import net

TEXTS = {
    "try import": net(
        top="""\
try:
    import flash_attn_missing
    HAS = True
except ImportError:
    HAS = False
""",
        init="self.k = 2 if HAS else 3",
        forward="return self.layer(x) * self.k",
    ),
    "try import none": net(
        top="""\
try:
    import xformers_missing as xf
except ImportError:
    xf = None
""",
        forward="return self.layer(x) if xf is None else xf.f(x)",
    ),
    "try import torch": net(
        top="""\
try:
    from torch.nn.functional import scaled_dot_product_attention as sdpa
except ImportError:
    sdpa = None
""",
        forward="return self.layer(x) if sdpa is None else self.layer(x) * 2",
    ),
    "try import else": net(
        top="""\
try:
    from torch.nn import RMSNorm
except ImportError:
    from missing_mod import RMSNorm
""",
        init="self.n = RMSNorm(3)",
        forward="return self.layer(self.n(x))",
    ),
    "try hub": net(
        top="""\
try:
    from torch.hub import load_state_dict_from_url
except ImportError:
    from torch.utils.model_zoo import load_url as load_state_dict_from_url
"""
    ),
    "try key": net(
        init="""\
d = {'a': nn.ReLU}
try:
    self.act = d['b']()
except KeyError:
    self.act = d['a']()
""",
        forward="return self.act(self.layer(x))",
    ),
    "try attribute": net(
        init="""\
try:
    self.k = self.missing
except AttributeError as e:
    self.k = 4
""",
        forward="return self.layer(x) * self.k",
    ),
    "try raise": net(
        init="""\
try:
    if True:
        raise ValueError('bad')
    self.k = 1
except (TypeError, ValueError) as e:
    self.k = len(str(e))
else:
    self.k = 9
finally:
    self.j = 2
""",
        forward="return self.layer(x) * self.k * self.j",
    ),
    "try raise forward": net(
        body="""\
def f(self, n):
    if n > 1:
        raise NotImplementedError
    return 2
""",
        forward="""\
try:
    k = self.f(3)
except NotImplementedError:
    k = 5
return self.layer(x) * k
""",
    ),
    "try index": net(
        init="""\
l = [1, 2]
try:
    self.k = l[5]
except IndexError:
    self.k = 7
""",
        forward="return self.layer(x) * self.k",
    ),
    "try bare": net(
        init="""\
try:
    self.k = {}['a']
except:
    self.k = 7
""",
        forward="return self.layer(x) * self.k",
    ),
    "try int": net(
        init="""\
try:
    self.k = int('a')
except ValueError:
    self.k = 7
""",
        forward="return self.layer(x) * self.k",
    ),
}

# PyTorch warns of its own older functions.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


@pytest.mark.parametrize("source", TEXTS.values(), ids=TEXTS)
def test_the_text_is_that_of_python(source: str) -> None:
    """Print, initial values, outputs, gradients and the random numbers that follow are those of Python."""
    assert_same_as_python(source)
