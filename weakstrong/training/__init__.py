"""Training: features from one pass, probes trained together, and a finetuning loop."""
