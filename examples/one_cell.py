"""Weak-to-strong generalization in one file, read top to bottom (Burns et al. 2023, arXiv 2312.09390).

A weak supervisor learns from ground truth. A strong student learns from the supervisor's predictions only.
How much of the gap to a ceiling (the student's model, trained on ground truth) does the student recover?
All are linear heads on frozen features of pretrained models, so one cell takes minutes on a laptop.

    python examples/one_cell.py reviews.csv --supervisor ./MiniLM-L6 --student ./SmolLM2-135M::22

A model is a folder with safetensors weights and a tokenizer; ::22 after it keeps its first 22 layers.
Shapes: N rows, B rows of a batch, T tokens, D width, 2 classes.
"""

import argparse
import csv
import json

import numpy as np
import torch
import transformers


def read(path):
    """Texts, and labels 0 or 1, from the columns ``text`` and ``label`` of a CSV or JSON lines file."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file)) if path.endswith(".csv") else [json.loads(line) for line in file]
    # The same text twice could stand in a training part and in the test part.
    label_of = {row["text"]: str(row["label"]) for row in rows}
    classes = sorted(set(label_of.values()))
    if len(classes) != 2:
        raise SystemExit(f"{path}: label has {len(classes)} different values, two are wanted: {classes[:5]}")
    return list(label_of), [classes.index(label) for label in label_of.values()]


def split(count, seed):
    """Row numbers of each part: two equal halves, each with its validation part, and a test part."""
    order = np.random.default_rng(seed).permutation(count)
    held, half = max(1, min(500, count // 20)), (count - min(2000, count // 5)) // 2
    weak, strong, test = order[:half], order[half : 2 * half], order[2 * half :]
    parts = {"weak_train": weak[held:], "weak_train_validation": weak[:held]}
    return parts | {"transfer": strong[held:], "validation": strong[:held], "test": test}


def features(model, texts, dtype, max_tokens=256):
    """One vector per text, float32 [N, D]: the state after the last kept layer and the final norm."""
    name, _, layers = model.partition("::")
    config = transformers.AutoConfig.from_pretrained(name)
    config.num_hidden_layers = depth = int(layers or config.num_hidden_layers)
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:depth]
    is_decoder = any(word in config.architectures[0] for word in ("CausalLM", "LMHead"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(name)
    network = transformers.AutoModel.from_pretrained(name, config=config, dtype=dtype, use_safetensors=True)
    ids = [tokenizer(text, truncation=True, max_length=max_tokens)["input_ids"] or [0] for text in texts]
    out_ND = torch.empty(len(texts), config.hidden_size)
    # Texts of like length together: little padding. The mask, not the padding's id, says where a text ends.
    for rows in torch.tensor(np.argsort([len(row) for row in ids], kind="stable")).split(32):
        length_B = torch.tensor([len(ids[i]) for i in rows])
        mask_BT = (torch.arange(int(length_B.max())) < length_B[:, None]).long()
        ids_BT = torch.tensor([ids[i] + [0] * (mask_BT.shape[1] - len(ids[i])) for i in rows])
        with torch.inference_mode():
            hidden_BTD = network(input_ids=ids_BT, attention_mask=mask_BT).last_hidden_state.float()
        # In a decoder only the last token has seen the whole text.
        last_BD, sum_BD = hidden_BTD[range(len(rows)), length_B - 1], (hidden_BTD * mask_BT[..., None]).sum(1)
        out_ND[rows] = last_BD if is_decoder else sum_BD / length_B[:, None]
    return out_ND


def naive(logp_B2, weak_B2, progress, prior):
    """Imitate the labels: cross entropy."""
    return -(weak_B2 * logp_B2).sum(1).mean()


def confidence(logp_B2, weak_B2, progress, prior, a_max=0.75, warmup=0.2):
    """Cross entropy with weak labels mixed with the student's own hardened predictions (§4.3.2, A.4)."""
    a = a_max * min(1.0, progress / warmup)
    # The threshold is set so that half of the batch lies above it, or the prior if classes are unequal.
    share = 0.5 if abs(prior - 0.5) <= 0.05 else prior
    odds_B = (logp_B2[:, 1] - logp_B2[:, 0]).detach()
    ranked = odds_B.sort(descending=True).values
    edges = torch.cat([ranked[:1] + 1, ranked, ranked[-1:] - 1])
    hard_B = (odds_B > edges[round(share * len(odds_B)) :][:2].mean()).float()
    return naive(logp_B2, (1 - a) * weak_B2 + a * torch.stack([1 - hard_B, hard_B], dim=1), progress, prior)


def train_head(inputs_ND, labels_N2, train, check, loss_of, seed, epochs=30, batch=128, rate=1e-3):
    """Train a head on the rows ``train``; class probabilities [N, 2] of all rows.

    The epoch that agrees best with the labels of ``check`` is kept: weak labels too, if the student learns.
    """
    scaled_ND = inputs_ND / inputs_ND[train].square().mean(0).sqrt().clamp_min(1e-6)
    prior, steps = float(labels_N2[train, 1].mean()), -(-len(train) // batch) * epochs
    head = torch.nn.Linear(inputs_ND.shape[1], 2, bias=False)
    torch.nn.init.zeros_(head.weight)
    optimizer = torch.optim.Adam(head.parameters(), lr=rate)
    generator, best, step = np.random.default_rng([seed, 7]), -1.0, 0
    for _ in range(epochs):
        for pick in torch.from_numpy(train[generator.permutation(len(train))]).split(batch):
            logp_B2 = head(scaled_ND[pick]).log_softmax(1)
            loss = loss_of(logp_B2, labels_N2[pick], step / max(1, steps - 1), prior)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
        probs_N2 = head(scaled_ND).softmax(1).detach()
        score = (probs_N2[check].argmax(1) == labels_N2[check].argmax(1)).float().mean().item()
        if score > best:
            best, kept_N2 = score, probs_N2
    return kept_N2


def one_cell(texts, labels, parts, supervisor, student, seed=0, dtype="bfloat16"):
    """Which test rows are right, bool [N of test], for supervisor, naive, confidence and ceiling."""
    weak_ND, strong_ND = features(supervisor, texts, dtype), features(student, texts, dtype)
    truth_N2 = torch.eye(2)[torch.tensor(labels)]
    # The supervisor learns from ground truth on its own half, and labels the other half.
    own = parts["weak_train"], parts["weak_train_validation"]
    weak_N2 = train_head(weak_ND, truth_N2, *own, naive, seed)
    # Students learn from these labels; the ceiling learns from ground truth on the same rows.
    theirs = parts["transfer"], parts["validation"]
    probs = {
        "supervisor": weak_N2,
        "naive": train_head(strong_ND, weak_N2, *theirs, naive, seed),
        "confidence": train_head(strong_ND, weak_N2, *theirs, confidence, seed),
        "ceiling": train_head(strong_ND, truth_N2, *theirs, naive, seed),
    }
    right = {name: probs_N2.argmax(1) == truth_N2.argmax(1) for name, probs_N2 in probs.items()}
    return {name: right_N[parts["test"]].numpy() for name, right_N in right.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", help=".csv or .jsonl with the columns text and label (two classes)")
    parser.add_argument("--supervisor", required=True, help="the weak model: FOLDER or FOLDER::LAYERS")
    parser.add_argument("--student", required=True, help="the strong model, written alike")
    parser.add_argument("--seed", type=int, default=0, help="of split and order of rows; try at least five")
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()  # layers left out are no mistake
    texts, labels = read(args.data)
    right = one_cell(texts, labels, split(len(texts), args.seed), args.supervisor, args.student, args.seed)
    weak_N = right["supervisor"].astype(float)
    gap_N = right["ceiling"] - weak_N
    clear = gap_N.mean() > 1.96 * gap_N.std() / len(gap_N) ** 0.5
    for name, rows in right.items():
        pgr = f"{(rows - weak_N).mean() / gap_N.mean():.4f}" if clear else "undefined: no clear gap"
        print(f"{name:12}accuracy {rows.mean():.4f}   PGR {pgr}")


if __name__ == "__main__":
    main()
