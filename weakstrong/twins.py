"""Near-duplicate texts among rows.

MinHash and locality-sensitive hashing are `datasketch`'s; the similarity of each pair they propose is then computed
from the whole sets (A. Broder, "On the Resemblance and Containment of Documents", 1997).

Array legend: N rows, P pairs, S shingles of a text, B rows in one bucket.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from weakstrong.data import IntArray
from weakstrong.errors import ConfigError

Hashes = npt.NDArray[np.uint64]

SHORT_WORDS = 8
"""Texts of fewer words are compared by their characters: a handful of word 3-grams is all or nothing."""


class _Separators(dict[int, int | str]):
    """For `str.translate`: punctuation, blanks and control characters become blanks; asked once per character."""

    def __missing__(self, code: int) -> int | str:
        self[code] = " " if unicodedata.category(chr(code))[0] in "PZC" else code
        return self[code]


_SEPARATORS = _Separators()


def words_of(text: str) -> list[str]:
    """The words of a text without case and punctuation; of a text that is nothing else, its punctuation.

    >>> words_of("Don't  PANIC!"), words_of("?!")
    (['don', 't', 'panic'], ['?!'])
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return folded.translate(_SEPARATORS).split() or folded.split()


class _Digests(dict[str, int]):
    """64-bit hashes of strings, the same in every process."""

    def __missing__(self, text: str) -> int:
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        self[text] = int.from_bytes(digest, "little")
        return self[text]


def _shingles(words: Sequence[str], digests: _Digests) -> Hashes:
    """Sorted hashes [S] of the different word 3-grams; below `SHORT_WORDS`, of the character 4-grams, ends marked."""
    if len(words) < SHORT_WORDS:
        text = f" {' '.join(words)} "
        grams = [text[i : i + 4] for i in range(max(1, len(text) - 3))]
        return np.unique(np.array([digests[g] for g in grams], np.uint64))
    word_S = np.array([digests[w] for w in words], np.uint64)
    # Integer arithmetic wraps around, which is the modulo of a polynomial hash.
    factor = np.uint64(0x9E3779B97F4A7C15)
    return np.unique((word_S[:-2] * factor + word_S[1:-1]) * factor + word_S[2:])


def near_duplicates(
    rows: pa.Table, threshold: float = 0.8, permutations: int = 128, crowd: int = 50
) -> pa.Table:
    """Pairs of rows whose texts are nearly or quite the same: columns a, b (ids, a < b), similarity (float32).

    Case, punctuation and white space do not count; of a comparison both texts count, one after the other. The
    similarity is the exact Jaccard similarity of the shingle sets (short of a collision of 64-bit hashes); texts on
    either side of `SHORT_WORDS` share no shingles. Candidates come from MinHash with at least 99.5 % recall for a pair
    right at the threshold, more above it. Pairs within a group are left out, since groups stay in one part. Where more
    than ``crowd`` rows fall into one bucket each meets its ``crowd`` next on either side only, so that a thousand
    copies of one text do not become half a million pairs. Most similar pairs come first; the order of rows makes no difference.

    Raises:
        ConfigError: for a threshold outside (0, 1].
    """
    if not 0 < threshold <= 1:
        raise ConfigError(f"the threshold of near-duplicates is {threshold}; wanted: above 0, at most 1")
    texts = _whole_texts(rows)
    words = [words_of(text) for text in texts]
    ids: list[str] = rows["id"].to_pylist()
    # Neighbours in the alphabet are alike, and copies of one text come in an order that no part can follow.
    digests = _Digests()
    order = sorted(range(len(ids)), key=lambda i: (words[i], digests[ids[i]], ids[i]))
    names = np.array(ids, dtype=object)[order]
    _, group_N = np.unique(np.array(rows["group"].to_pylist(), dtype=object).astype(str), return_inverse=True)
    group_N = group_N[order]
    shingles = [_shingles(words[i], digests) for i in order]
    size_N = np.array([len(s) for s in shingles], dtype=np.int64)

    first_P, second_P = _candidates(shingles, threshold, permutations, crowd)
    small_P, large_P = np.sort(np.stack([size_N[first_P], size_N[second_P]]), axis=0)
    # No two sets are more alike than their sizes are.
    keep_P = (group_N[first_P] != group_N[second_P]) & (small_P >= threshold * large_P)
    first_P, second_P = first_P[keep_P], second_P[keep_P]
    sets = {i: frozenset(shingles[i].tolist()) for i in np.unique([first_P, second_P]).tolist()}
    found = []
    for i, j in zip(first_P.tolist(), second_P.tolist(), strict=True):
        shared = len(sets[i] & sets[j])
        similarity = shared / (len(sets[i]) + len(sets[j]) - shared)
        if similarity >= threshold:
            a, b = sorted((names[i], names[j]))
            found.append((-similarity, a, b))
    found.sort()
    return pa.table(
        {
            "a": pa.array([a for _, a, _ in found], pa.string()),
            "b": pa.array([b for _, _, b in found], pa.string()),
            "similarity": pa.array([-s for s, _, _ in found], pa.float32()),
        }
    )


def _whole_texts(rows: pa.Table) -> list[str]:
    texts: list[str] = rows["text"].to_pylist()
    if "other" not in rows.column_names:
        return texts
    return [f"{text}\n{other}" for text, other in zip(texts, rows["other"].to_pylist(), strict=True)]


def _candidates(
    shingles: Sequence[Hashes], threshold: float, permutations: int, crowd: int
) -> tuple[IntArray, IntArray]:
    """Pairs [P] of different rows, first < second, that share a bucket of some band."""
    from datasketch import MinHash, MinHashLSH

    count = len(shingles)
    # As many rows a band as leave 99.5 % of the pairs at the threshold: more rows, fewer candidates that are nothing.
    per_band = max(
        (r for r in range(1, permutations // 2) if (1 - threshold**r) ** (permutations // r) <= 0.005),
        default=1,
    )
    index = MinHashLSH(num_perm=permutations, params=(permutations // per_band, per_band))
    # The 32 high bits are as good a hash as all 64, and what the library's permutations take.
    hashes = ((s >> np.uint64(32)).tolist() for s in shingles)
    for i, sketch in enumerate(MinHash.generator(hashes, num_perm=permutations, hashfunc=int)):
        index.insert(i, sketch, check_duplication=False)
    pairs_P = np.zeros(0, np.int64)
    for table in index.hashtables:
        buckets = [sorted(table.get(key)) for key in table.keys()]  # noqa: SIM118 - a storage, not a dict
        met = [_meetings(np.array(b, np.int64), crowd, count) for b in buckets if len(b) > 1]
        pairs_P = np.unique(np.concatenate([pairs_P, *met]))
    first_P, second_P = np.divmod(pairs_P, max(1, count))
    return first_P, second_P


def _meetings(member_B: IntArray, crowd: int, count: int) -> IntArray:
    """Pairs of one bucket as first × count + second: all, or in a crowd the next ones round a ring."""
    if len(member_B) <= crowd + 1:
        one, two = np.triu_indices(len(member_B), 1)
    else:
        one = np.tile(np.arange(len(member_B)), crowd)
        two = (one + np.repeat(np.arange(1, crowd + 1), len(member_B))) % len(member_B)
    pairs_P: IntArray = member_B[np.minimum(one, two)] * count + member_B[np.maximum(one, two)]
    return pairs_P
