"""Train a small GPT on a nursery rhyme: a pasted class, a loss over all positions; then write with it."""

import os
from typing import Any

import httpx
import numpy as np

URL = os.environ.get("FITSERVE_URL", "http://localhost:8000")
TEXT = """\
This is the farmer sowing his corn,
That kept the cock that crowed in the morn,
That waked the priest all shaven and shorn,
That married the man all tattered and torn,
That kissed the maiden all forlorn,
That milked the cow with the crumpled horn,
That tossed the dog,
That worried the cat,
That killed the rat,
That ate the malt
That lay in the house that Jack built.
"""
CONTEXT = 32
CLASS = '''
class CausalSelfAttention(nn.Module):
    def __init__(self, config):
        super().__init__()
        assert config.n_embd % config.n_head == 0
        self.n_head = config.n_head
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd)

    def forward(self, x):
        B, T, C = x.size()
        q, k, v = self.c_attn(x).split(C, dim=2)
        q, k, v = (t.view(B, T, self.n_head, C // self.n_head).transpose(1, 2) for t in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(y.transpose(1, 2).contiguous().view(B, T, C))


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd)
        self.attn = CausalSelfAttention(config)
        self.ln_2 = nn.LayerNorm(config.n_embd)
        self.mlp = nn.Sequential(
            nn.Linear(config.n_embd, 4 * config.n_embd),
            nn.GELU(),
            nn.Linear(4 * config.n_embd, config.n_embd),
        )

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    """Radford et al., Language Models are Unsupervised Multitask Learners (2019)."""

    def __init__(self, config):
        super().__init__()
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.block_size, config.n_embd)
        self.h = nn.ModuleList([Block(config) for _ in range(config.n_layer)])
        self.ln_f = nn.LayerNorm(config.n_embd)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)

    def forward(self, idx):
        pos = torch.arange(idx.size(1), device=idx.device)
        x = self.wte(idx) + self.wpe(pos)
        for block in self.h:
            x = block(x)
        return self.lm_head(self.ln_f(x)).transpose(1, 2)  # [B, characters, T]
'''


def main() -> None:
    """Train on all pieces of the text, then continue its first characters."""
    characters = sorted(set(TEXT))
    tokens = [characters.index(character) for character in TEXT]
    starts = range(len(tokens) - CONTEXT)
    config = {"vocab_size": len(characters), "block_size": CONTEXT, "n_layer": 2, "n_head": 4, "n_embd": 48}
    job: dict[str, Any] = {
        "data": {
            "inputs": [tokens[start : start + CONTEXT] for start in starts],
            "targets": [tokens[start + 1 : start + CONTEXT + 1] for start in starts],
            "dtypes": {"idx": "int64"},
        },
        "architecture": {"type": "class", "source": CLASS, "arguments": {"config": config}},
        "training": {
            "loss": "CrossEntropyLoss",
            "optimizer": {"type": "AdamW", "lr": 0.006},
            "scheduler": {"type": "CosineAnnealingLR", "T_max": 32},
            "batch_size": 32,
            "epochs": 32,
            "seed": 0,
        },
    }
    with httpx.Client(base_url=URL, timeout=90.0) as client:
        fit = client.post("/v1/jobs", json=job, headers={"Prefer": "wait=60"}).raise_for_status().json()
        if fit["status"] != "succeeded":
            raise SystemExit(f"The job has {fit['status']}: {fit['error']}")
        print(f"{fit['parameter_count']} parameters, engine {fit['used']['engine']}")
        history = client.get(fit["links"]["history"], params={"every": 8}).raise_for_status().json()
        for epoch, loss in zip(history["epochs"], history["train_loss"], strict=True):
            print(f"epoch {epoch:2}: loss {loss:.3f}, perplexity {np.exp(loss):.1f}")

        rng = np.random.default_rng(0)
        written = tokens[:CONTEXT]
        for _ in range(140):
            answer = client.post(fit["links"]["predictions"], json={"inputs": [written[-CONTEXT:]]})
            # [1, characters, T]; those of the character after the last one
            probabilities = np.array(answer.raise_for_status().json()["probabilities"])[0, :, -1]
            sharpened = probabilities**2  # a temperature of 1/2
            written.append(int(rng.choice(len(characters), p=sharpened / sharpened.sum())))
        print(f"written from the first {CONTEXT} characters:")
        print("".join(characters[token] for token in written))


if __name__ == "__main__":
    main()
