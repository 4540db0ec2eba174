"""The secant rule written out for BERT in float64 numpy, one text at a time: an oracle.

Nothing here comes from the product: layers forward, multipliers backward, each by its formula.
"""

import math

import numpy as np

erf = np.vectorize(math.erf)


def slope(v, v0, u, u0, derivative):
    away = u - u0
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.abs(away) > 1e-7, (v - v0) / away, derivative((u + u0) / 2))


def gelu(x):
    return x * 0.5 * (1 + erf(x / math.sqrt(2)))


def gelu_derivative(x):
    return 0.5 * (1 + erf(x / math.sqrt(2))) + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def norm(x, weight, bias, eps):
    c = x - x.mean(-1, keepdims=True)
    r = 1 / np.sqrt((c * c).mean(-1, keepdims=True) + eps)
    return c * r * weight + bias, (c, r)


def norm_back(m, weight, at, at0):
    """c, c squared, its mean, 1 / root, the product: each by its own rule."""
    (c, r), (c0, r0) = at, at0
    g = m * weight
    m_c = g * (r + r0) / 2
    m_r = (g * (c + c0) / 2).sum(-1, keepdims=True)
    u, u0 = 1 / r**2, 1 / r0**2
    m_mean = m_r * -1 / (np.sqrt(u) * np.sqrt(u0) * (np.sqrt(u) + np.sqrt(u0)))
    m_c = m_c + m_mean / c.shape[-1] * (c + c0)
    return m_c - m_c.mean(-1, keepdims=True)


def softmax(s):
    e = np.exp(s - s.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def softmax_back(m, p, p0):
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(np.isclose(p, p0, rtol=1e-9), p, (p - p0) / (np.log(p) - np.log(p0)))
    centre = (mean * m).sum(-1, keepdims=True) / mean.sum(-1, keepdims=True)
    return mean * (m - centre)


class HandWrittenBert:
    """A `BertForSequenceClassification` as matrices of float64."""

    def __init__(self, model):
        self.w = {name: value.double().numpy() for name, value in model.state_dict().items()}
        self.layers = model.config.num_hidden_layers
        self.heads = model.config.num_attention_heads
        self.eps = model.config.layer_norm_eps

    def linear(self, name, x):
        return x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"]

    def norm(self, name, x):
        return norm(x, self.w[f"{name}.weight"], self.w[f"{name}.bias"], self.eps)

    def split(self, x):
        return x.reshape(len(x), self.heads, -1).swapaxes(0, 1)  # (head, token, hidden)

    def merge(self, x):
        return x.swapaxes(0, 1).reshape(x.shape[1], -1)

    def forward(self, embeddings):
        """Return the states of every layer, the logits and all that the way back needs."""
        e = "bert.embeddings."
        x = embeddings + self.w[e + "token_type_embeddings.weight"][0]
        x = x + self.w[e + "position_embeddings.weight"][: len(x)]
        h, _ = self.norm(e + "LayerNorm", x)
        states, kept = [h], []
        for number in range(self.layers):
            b = f"bert.encoder.layer.{number}."
            k = {"h": h}
            for name in ("query", "key", "value"):
                k[name] = self.split(self.linear(f"{b}attention.self.{name}", h))
            scale = 1 / math.sqrt(k["query"].shape[-1])
            k["p"] = softmax(scale * k["query"] @ k["key"].swapaxes(1, 2))
            attended = self.linear(b + "attention.output.dense", self.merge(k["p"] @ k["value"]))
            middle, k["n1"] = self.norm(b + "attention.output.LayerNorm", attended + h)
            k["u"] = self.linear(b + "intermediate.dense", middle)
            out = self.linear(b + "output.dense", gelu(k["u"]))
            h, k["n2"] = self.norm(b + "output.LayerNorm", out + middle)
            states.append(h)
            kept.append(k)
        pooled = self.linear("bert.pooler.dense", h[:1])
        return states, self.linear("classifier", np.tanh(pooled))[0], (kept, pooled)

    def maps(self, text, reference, target):
        """Return (layer, token) scores of a class, and its change."""
        states, logits, (kept, pooled) = self.forward(text)
        states0, logits0, (kept0, pooled0) = self.forward(reference)
        m = self.w["classifier.weight"][target][None]
        m = m * slope(
            np.tanh(pooled), np.tanh(pooled0), pooled, pooled0, lambda x: 1 - np.tanh(x) ** 2
        )
        found = np.zeros_like(states[0])
        found[:1] = m @ self.w["bert.pooler.dense.weight"]
        scores = [(found * (states[-1] - states0[-1])).sum(-1)]
        for number in reversed(range(self.layers)):
            found = self.back(f"bert.encoder.layer.{number}.", found, kept[number], kept0[number])
            scores.append((found * (states[number] - states0[number])).sum(-1))
        return np.array(scores[::-1]), logits[target] - logits0[target]

    def back(self, b, m, at, at0):
        weight = self.w
        m = norm_back(m, weight[b + "output.LayerNorm.weight"], at["n2"], at0["n2"])
        m_u = m @ weight[b + "output.dense.weight"]
        m_u = m_u * slope(gelu(at["u"]), gelu(at0["u"]), at["u"], at0["u"], gelu_derivative)
        m = m + m_u @ weight[b + "intermediate.dense.weight"]
        m = norm_back(m, weight[b + "attention.output.LayerNorm.weight"], at["n1"], at0["n1"])
        m_o = self.split(m @ weight[b + "attention.output.dense.weight"])
        mean = {name: (at[name] + at0[name]) / 2 for name in ("query", "key", "value", "p")}
        m_v = mean["p"].swapaxes(1, 2) @ m_o
        m_s = softmax_back(m_o @ mean["value"].swapaxes(1, 2), at["p"], at0["p"])
        m_s = m_s / math.sqrt(at["query"].shape[-1])
        for name, m_x in (
            ("query", m_s @ mean["key"]),
            ("key", m_s.swapaxes(1, 2) @ mean["query"]),
            ("value", m_v),
        ):
            m = m + self.merge(m_x) @ weight[f"{b}attention.self.{name}.weight"]
        return m
