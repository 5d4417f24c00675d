"""The cases of `benchmarks.train_step`, in the order in which they are measured."""

from __future__ import annotations

from benchmarks.train_step_card import attention, copies, loader, products, saves
from benchmarks.train_step_peer import against_peer, peer
from benchmarks.train_step_setting import Case
from benchmarks.train_step_stages import clauses, lora, utterances, whole_step, without_optimizer

CASES = {
    "products": Case("matrix products: what the card can do", products),
    "copies": Case("copies on the card", copies),
    "attention": Case("attention of one layer, packed (varlen on a GPU)", attention(packed=True)),
    "dense-mask": Case("the same with a mask of the whole sequence", attention(packed=False)),
    "1.1": whole_step("1.1", "1.1, language model and vision encoder frozen", lambda setting: None),
    "1.2-passes": Case("1.2, all layers, forward and backward, no optimizer", without_optimizer),
    "1.2": whole_step("1.2", "1.2, fewer layers, whole step", lambda setting: setting.layers),
    "lora": Case("1.3 by LoRA within 24 GB, largest pass", lora),
    "2.1a": Case("2.1a, encoder frames of 40 ms", utterances),
    "3.2": Case("3.2, codec tokens", clauses),
    "trainer": Case("Hugging Face's Trainer, fewer layers, text alone", peer),
    "ours": Case("ours on the same", against_peer),
    "save": Case("training stands still for a state", saves),
    "loader": Case("loader: 16 pictures of 640×480", loader),
    "1.2-whole": whole_step("1.2", "1.2, all layers, whole step (needs an H200)", lambda setting: None),
}
