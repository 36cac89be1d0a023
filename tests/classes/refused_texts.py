# ruff: noqa: E501, RUF001
"""Class texts that must be refused: they reach beyond a model, do not end, grow, or are no Python.

Each entry is a title and a text; `NET` puts lines into the `__init__` and the `forward` of a small class.
"""

from textwrap import indent


def net(init: str = "", forward: str = "return self.layer(x)", top: str = "", body: str = "") -> str:
    """Return the text of a class with further lines in its parts."""
    return (
        f"{top}\nclass Net(nn.Module):\n{indent(body, '    ')}\n"
        "    def __init__(self):\n        super().__init__()\n        self.layer = nn.Linear(3, 2)\n"
        f"{indent(init, '        ')}\n"
        f"    def forward(self, x):\n{indent(forward, '        ')}\n"
    )


def _expressions(title: str, *expressions: str) -> dict[str, str]:
    """Return texts that evaluate an expression in the constructor, and others that do so in `forward`."""
    texts = {}
    for number, expression in enumerate(expressions):
        texts[f"{title} {number} in __init__"] = net(init=f"self.value = {expression}")
        texts[f"{title} {number} in forward"] = net(forward=f"value = {expression}\nreturn self.layer(x)")
    return texts


REFUSED: dict[str, str] = {
    # Python's own objects
    **_expressions(
        "attribute",
        "().__class__.__bases__[0].__subclasses__()",
        "self.__dict__",
        "self.forward.__globals__",
        "self.layer.__class__.__init__.__globals__",
        "type(self).__mro__",
        "nn.Module.__subclasses__()",
        "torch.__dict__",
        "nn.modules.linear.math",
        "self._forward_hooks",
        "self.layer._backward_hooks",
        "self.layer.weight.grad_fn",
        "self.layer.weight.storage()",
        "self.layer.weight.data_ptr()",
        "self.layer.weight.numpy()",
        "self.layer.weight.__setstate__({})",
        "(lambda: 0).__code__",
        "(lambda: 0).__closure__",
        "[].__iter__()",
        "'{0.__class__.__mro__}'.format(self)",
        "'{a.__init__.__globals__}'.format(a=self)",
        "f'{self.__class__.__bases__}'",
        "getattr(self, '__dict__')",
        "getattr(self, '_' + 'forward_hooks')",
        "getattr(torch, 'load')('file')",
        "hasattr(self, 3)",
        "type('Made', (), {})",
        "type(self).__class__",
        "super().__init__.__globals__",
        "object.__new__(object)",
        "object.__subclasses__()",
    ),
    **_expressions(
        "function",
        "__import__('os').system('true')",
        "eval('1')",
        "exec('1')",
        "compile('1', '', 'eval')",
        "open('/etc/passwd').read()",
        "globals()",
        "locals()",
        "vars(self)",
        "dir(self)",
        "id(self)",
        "memoryview(b'a')",
        "input()",
        "print('a')",
        "breakpoint()",
        "help()",
        "exit()",
        "delattr(self, 'layer')",
        "torch.load('file')",
        "torch.save(self, 'file')",
        "torch.hub.load('a', 'b')",
        "torch.ops.aten.add(1, 2)",
        "torch.utils.cpp_extension.load('a', 'b')",
        "torch.jit.script(self)",
        "torch.from_file('a')",
        "torch.seed()",
        "torch.set_num_threads(64)",
        "torch.set_default_device('cuda')",
        "torch.classes.load_library('a')",
        "torch.multiprocessing.spawn(self)",
        "torch.distributed.init_process_group('gloo')",
        "nn.DataParallel(self)",
        "self.register_forward_hook(lambda *a: None)",
        "self.layer.register_full_backward_hook(lambda *a: None)",
        "self.load_state_dict({})",
        "self.state_dict()",
        "self.half()",
        "self.share_memory()",
        "self.compile()",
        "np.load('file')",
        "math.__loader__",
    ),
    # Syntax
    "import that is used": net(top="import os", init="os.system('true')"),
    "import of a submodule that is used": net(top="import os.path as p", init="p.exists('a')"),
    "import inside a function": net(init="import subprocess\nsubprocess.run(['true'])"),
    "star import": net(top="from os import *", init="system('true')"),
    "decorator": net(body="@open\ndef method(self):\n    return 0"),
    "decorator of the class": net().replace("class Net", "@print\nclass Net"),
    "decorator that is a lambda": net(body="@(lambda f: f)\ndef method(self):\n    return 0"),
    "metaclass": net().replace("(nn.Module)", "(nn.Module, metaclass=type)"),
    "keyword of a class": net().replace("(nn.Module)", "(nn.Module, key=1)"),
    "base that is a call": net().replace("(nn.Module)", "(type('A', (), {}))"),
    "base that is a tensor": net().replace("(nn.Module)", "(torch.ones(1))"),
    "base that is a type of Python": net().replace("(nn.Module)", "(nn.Module, dict)"),
    "exception group": net(init="try:\n    pass\nexcept* ValueError:\n    pass"),
    "exception that nothing catches": net(init="try:\n    {}['a']\nexcept ValueError:\n    pass"),
    "error of PyTorch in try": net(
        forward="try:\n    x = x @ x\nexcept Exception:\n    pass\nreturn self.layer(x)"
    ),
    "with open": net(init="with open('a') as f:\n    pass"),
    "with autocast": net(forward="with torch.autocast('cpu'):\n    return self.layer(x)"),
    "global": net(init="global a\na = 1"),
    "nonlocal": net(init="a = 1\ndef f():\n    nonlocal a\n    a = 2\nf()"),
    "async": net(body="async def method(self):\n    return 0"),
    "await": net(body="async def method(self):\n    await self"),
    "yield": net(init="def f():\n    yield 1\nself.a = list(f())"),
    "match": net(init="match 1:\n    case 1:\n        pass"),
    "return outside of a function": "return 1\n" + net(),
    "break outside of a loop": net(init="break"),
    "assignment to a literal": net(init="1 = 2"),
    "bytes": net(init="self.a = b'a'"),
    "complex": net(init="self.a = 1j"),
    "shift": net(init="self.a = 1 << 1000000"),
    "call at the top": net() + "\nNet().forward(1)\n",
    **{
        f"special method {name}": net(body=f"def {name}(self, *arguments):\n    return self")
        for name in (
            *("__getattr__", "__getattribute__", "__setattr__", "__del__", "__new__", "__init_subclass__"),
            *("__class_getitem__", "__eq__", "__hash__", "__add__", "__next__", "__enter__", "__reduce__"),
        )
    },
    **{
        f"method {name} of nn.Module": net(body=f"def {name}(self, *arguments):\n    return self")
        for name in (
            "parameters",
            "state_dict",
            "_apply",
            "register_buffer",
            "named_modules",
            "half",
        )
    },
    # Changes of what others use
    **{
        f"change {number}": net(init=line)
        for number, line in enumerate(
            (
                "nn.Linear.forward = None",
                "nn.Module.__call__ = None",
                "torch.relu = None",
                "self.forward = lambda x: x",
                "self.__class__ = nn.Linear",
                "self._parameters['a'] = torch.ones(1)",
                "self.training = 'no'",
                "self.layer.in_features = 10**6",
                "self.layer.weight.data = 'a'",
                "setattr(nn.Linear, 'forward', None)",
                "setattr(self, '__dict__', {})",
                "setattr(self, '_modules', {})",
                "self.add_module('__class__', nn.ReLU())",
                "self.register_buffer('__dict__', torch.ones(1))",
                "self.register_parameter('forward', nn.Parameter(torch.ones(1)))",
                "Net.forward = None",
                "F.relu.name = 'a'",
                "math.pi = 3",
            )
        )
    },
    # No end
    "while True": net(init="while True:\n    pass"),
    "endless layers": net(init="while True:\n    self.a = nn.Linear(2, 1)"),
    "while True in forward": net(forward="while True:\n    x = x + 1"),
    "while with numbers": net(init="n = 0\nwhile n < 10**15:\n    n += 1"),
    "recursion": net(init="def f(n):\n    return f(n + 1)\nf(0)"),
    "mutual recursion": net(init="def f(n):\n    return g(n)\ndef g(n):\n    return f(n)\nf(0)"),
    "recursion of lambdas": net(init="self.a = (lambda f: f(f))(lambda f: f(f))"),
    "recursion of forward": net(forward="return self(x)"),
    "recursion of properties": net(body="@property\ndef a(self):\n    return self.a", init="self.b = self.a"),
    "constructor of itself": net(init="self.other = Net()"),
    "exponential calls": net(
        init="def f(n):\n    return 0 if n == 0 else f(n - 1) + f(n - 1)\nself.a = f(38)"
    ),
    "long range": net(init="for i in range(10**15):\n    pass"),
    "nested ranges": net(init="for i in range(10**4):\n    for j in range(10**4):\n        pass"),
    "nested comprehension": net(init="self.a = sum(1 for a in range(1000) for b in range(1000))"),
    "list that grows while it is iterated over": net(init="a = [1]\nfor b in a:\n    a.append(b)"),
    "long sorted": net(init="self.a = sorted(range(10**9))"),
    "long zip": net(init="self.a = list(zip(range(10**9), range(10**9)))"),
    "long map": net(init="self.a = list(map(lambda a: a, range(10**9)))"),
    "long sum": net(init="self.a = sum(range(10**9))"),
    "long max": net(init="self.a = max(range(10**9))"),
    "membership in a long range": net(init="self.a = 'a' in range(10**9)"),
    "endless repetition": net(init="self.a = sum(itertools.repeat(2))", top="import itertools"),
    "endless cycle": net(init="for i in itertools.cycle([1]):\n    pass", top="import itertools"),
    "long product": net(
        init="self.a = list(itertools.product(range(1000), repeat=9))", top="import itertools"
    ),
    "endless object": net(
        top="class A:\n    def __getitem__(self, n):\n        return n", init="for a in A():\n    pass"
    ),
    "caught recursion": net(
        init="def f(n):\n    try:\n        return f(n + 1)\n    except Exception:\n        return f(n)\nf(0)"
    ),
    "endless try": net(
        init="while True:\n    try:\n        raise ValueError\n    except ValueError:\n        pass"
    ),
    # No bound
    "wide padding": net(init="self.a = 'a'.ljust(10**9)"),
    "deque that doubles": net(
        top="from collections import deque", init="d = deque([1])\nfor i in range(99):\n    d.extend(d)"
    ),
    "power": net(init="self.a = 9**9**9"),
    "factorial": net(init="self.a = math.factorial(10**8)"),
    "powers": net(init="n = 2\nfor i in range(99):\n    n = n * n"),
    "long list": net(init="self.a = [0] * 10**10"),
    "long tuple": net(init="self.a = (0,) * 10**10"),
    "long string": net(init="self.a = 'a' * 10**10"),
    "doubling string": net(init="a = 'a'\nfor i in range(99):\n    a = a + a"),
    "doubling list": net(init="a = [0]\nfor i in range(99):\n    a = a + a"),
    "doubling list in place": net(init="a = [0]\nfor i in range(99):\n    a += a"),
    "list extended by itself": net(init="a = [0]\nfor i in range(99):\n    a.extend(a)"),
    "shared lists compared": net(init="a = [0]\nfor i in range(99):\n    a = [a, a]\nself.a = a == a"),
    "shared lists as text": net(init="a = [0]\nfor i in range(99):\n    a = [a, a]\nself.a = str(a)"),
    "shared lists as a tensor": net(
        init="a = [0]\nfor i in range(99):\n    a = [a, a]\nself.a = torch.tensor(a)"
    ),
    "wide format": net(init="self.a = f'{1:99999999}'"),
    "wide percent format": net(init="self.a = '%99999999d' % 1"),
    "star in a percent format": net(init="self.a = '%*d' % (10**9, 1)"),
    "wide format method": net(init="self.a = '{:>99999999}'.format(1)"),
    "replacement": net(init="a = 'a' * 999\nself.a = a.replace('a', a)"),
    "join": net(init="a = 'a' * 999\nself.a = a.join([a] * 999)"),
    "large tensor": net(init="self.a = torch.ones(10**12)"),
    "large random tensor": net(init="self.a = nn.Parameter(torch.randn(10**6, 10**6))"),
    "many large tensors": net(init="for i in range(99):\n    self.a = torch.ones(2**27)"),
    "large layer": net(init="self.a = nn.Linear(10**9, 10**9)"),
    "large embedding": net(init="self.a = nn.Embedding(10**12, 8)"),
    "large buffer": net(init="self.register_buffer('a', torch.zeros(2**40))"),
    "large repetition": net(init="self.a = torch.ones(9).repeat(10**9)"),
    "large outer product": net(
        forward="y = torch.ones(10**6)\nreturn self.layer(x) + torch.outer(y, y).sum()"
    ),
    "many layers": net(init="self.a = nn.ModuleList([nn.ReLU() for i in range(1000) for j in range(9)])"),
    "many pieces": net(forward="return self.layer(x) + sum(torch.ones(10**6).unbind())"),
    "many time steps": net(forward="for i in range(10**5):\n    x = x + 1\nreturn self.layer(x)"),
    "module that contains itself": net(init="self.a = self"),
    "list that contains its module": net(init="self.a = nn.ModuleList([self])"),
    "modules that contain each other": net(
        init="a = nn.ModuleList()\nb = nn.ModuleList([a])\na.append(b)\nself.a = a"
    ),
    "exponential modules": net(
        init="a = nn.ReLU()\nfor i in range(40):\n    a = nn.Sequential(nn.Sequential(a), nn.Sequential(a))\nself.a = a"
    ),
    "stride of 0": net(init="self.a = nn.Conv2d(1, 1, 1, stride=0)"),
    "negative kernel": net(init="self.a = nn.MaxPool1d(-1)"),
    "stride of 0 in a function": net(forward="return F.max_pool1d(self.layer(x), 1, stride=0)"),
    "thousand stacked layers": net(init="self.a = nn.LSTM(1, 1, num_layers=10**6)"),
    "deep brackets": net(init=f"self.a = {'(' * 99}0{')' * 99}"),
    "deep operators": net(init=f"self.a = {'-' * 999}1"),
    "deep attributes": net(init=f"self.a = self{'.layer' * 999}"),
    "deep lists": net(init=f"self.a = {'[' * 99}{']' * 99}"),
    "deep blocks": net(init="\n".join(f"{' ' * n}if True:" for n in range(99)) + "\n" + " " * 99 + "pass"),
    "many terms": net(init="self.a = " + "+".join(["1"] * 40_000)),
    "many classes": "\n".join(f"class N{n}(nn.Module):\n    a = N{n - 1}" for n in range(1, 5_000)),
    # State
    "state between forward passes": net(
        init="self.h = None", forward="h = self.h\nself.h = x\nreturn self.layer(x)"
    ),
    "counter of forward passes": net(init="self.n = 0", forward="self.n += 1\nreturn self.layer(x)"),
    "list that grows in forward": net(init="self.n = []", forward="self.n.append(1)\nreturn self.layer(x)"),
    "dictionary that grows in forward": net(
        init="self.n = {}", forward="self.n['a'] = 1\nreturn self.layer(x)"
    ),
    "list of the class that grows": net(body="n = []", forward="self.n.append(1)\nreturn self.layer(x)"),
    "list of the text that grows": net(top="n = []", forward="n.append(1)\nreturn self.layer(x)"),
    "default value that grows": net(
        body="def f(self, n=[]):\n    n.append(1)\n    return n", forward="self.f()\nreturn self.layer(x)"
    ),
    "layer made in forward": net(forward="return nn.Linear(3, 2)(x)"),
    "parameter made in forward": net(forward="return self.layer(x) * nn.Parameter(torch.ones(1))"),
    "layer added in forward": net(forward="self.other = nn.Linear(3, 2)\nreturn self.other(x)"),
    "input overwritten": net(forward="x += 1\nreturn self.layer(x)"),
    "input overwritten by a method": net(forward="x.mul_(2)\nreturn self.layer(x)"),
    "part of an input overwritten": net(forward="x[0] = 0\nreturn self.layer(x)"),
    "view of an input overwritten": net(forward="x.view(-1).add_(1)\nreturn self.layer(x)"),
    "parameter overwritten": net(forward="self.layer.weight += 1\nreturn self.layer(x)"),
    "class changed in forward": net(body="n = 0", forward="type(self).n += 1\nreturn self.layer(x)"),
    "attribute deleted in forward": net(init="self.n = 0", forward="del self.n\nreturn self.layer(x)"),
    "generator in forward": net(
        init="self.g = torch.Generator()", forward="return self.layer(x) + torch.randn(2, generator=self.g)"
    ),
    "seed in forward": net(forward="torch.manual_seed(0)\nreturn self.layer(x)"),
    "random values that a cache keeps": net(
        top="import functools\n@functools.cache\ndef f(n):\n    return torch.randn(n)",
        forward="return self.layer(x + f(3))",
    ),
    "mode after its use": net(
        init="self.n = nn.BatchNorm1d(3)", forward="x = self.n(x)\nself.n.eval()\nreturn self.layer(x)"
    ),
    "parameters that `train` freezes": net(
        body="def train(self, mode=True):\n    self.layer.requires_grad_(not mode)\n    return super().train(mode)"
    ),
    # Values of tensors
    "branch on a tensor": net(forward="return self.layer(x) if x.sum() > 0 else self.layer(-x)"),
    "loop on a tensor": net(forward="while x.sum() < 10:\n    x = x + 1\nreturn self.layer(x)"),
    "and of tensors": net(forward="return self.layer(x) * (x.sum() > 0 and x.mean() > 0)"),
    "not of a tensor": net(forward="return self.layer(x) * (not x.sum())"),
    "item": net(forward="return self.layer(x) * x.sum().item()"),
    "tolist": net(forward="return self.layer(x) * x.tolist()[0][0]"),
    "int of a tensor": net(forward="return self.layer(x)[: int(x.sum())]"),
    "range of a tensor": net(forward="for i in range(x.sum()):\n    pass\nreturn self.layer(x)"),
    "mask with an unknown size": net(forward="return self.layer(x[x[:, 0] > 0])"),
    "nonzero": net(forward="return self.layer(x).nonzero()"),
    "unique": net(forward="return torch.unique(x)"),
    # Texts
    "nothing": "",
    "only a comment": "# nothing",
    "no class": "a = 1",
    "no module": "class Net:\n    pass",
    "no forward": "class Net(nn.Module):\n    pass",
    "no super": "class Net(nn.Module):\n    def __init__(self):\n        self.a = 1\n    def forward(self, x):\n        return x",
    "no parameters": "class Net(nn.Module):\n    def forward(self, x):\n        return x",
    "no return": net(forward="self.layer(x)"),
    "syntax error": net(forward="return ("),
    "tabs and spaces": "class Net(nn.Module):\n\tdef forward(self, x):\n        return x\n\t\treturn x",
    "null byte": net(top="a = '\0'"),
    "lone surrogate": net(top="a = '\ud800'\n", init="self.a = a"),
    "control characters": "\x0c\x0b\x01" + net(),
    "look-alike of __class__": net(init="self.a = self.__ｃlass__.__bases__"),
    "look-alike of eval": net(init="self.a = ｅval('1')"),
    "long name": net(init=f"self.a = {'a' * 50_000}"),
    "words": "Please give me a network with two layers.",
    "another language": "function net(x) { return x; }",
    "Keras": "model = Sequential([Dense(10), Dense(1)])",
}
