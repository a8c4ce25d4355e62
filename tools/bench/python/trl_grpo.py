"""One step of TRL's GRPOTrainer on the CPU: rollout by transformers' generate, reward, update by AdamW.

The trainer runs in a thread of its own and waits at the end of each step until the next one is asked for. Settings
are those of the case; nothing is logged or saved, gradient checkpointing is off. All samples of a step are generated
together; the update takes them in the case's number of `pieces` by gradient accumulation, because logits, their
gradients and activations of a whole 30M-parameter step take some 10 GB. Its own default of `loss_type` is `dapo`. The
rewards need nothing but the ids.
"""

import tempfile
import threading

import torch
from training import hugging_face

variants = ["sdpa", "eager attention", "sdpa, experts in a loop"]


def tokenizer_of(vocabulary):
    """Token n is the word `t<n>`; words stand between spaces."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {f"t{n}": n for n in range(vocabulary)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="t0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="t0", eos_token="t1", pad_token="t2", padding_side="left"
    )


def share_of_even(completion_ids, **_):
    return [sum(id % 2 == 0 for id in ids) / len(ids) for ids in completion_ids]


class Gate:
    """Lets the trainer take one step at a time."""

    def __init__(self):
        self.go, self.done = threading.Semaphore(0), threading.Semaphore(0)

    def step(self):
        self.go.release()
        self.done.acquire()


def prepare(case):
    import datasets
    import transformers
    import trl

    model, version = hugging_face(case["folder"], "eager" if "eager" in case["variant"] else "sdpa")
    if "loop" in case["variant"]:
        model.set_experts_implementation("eager")
    ids = torch.tensor(case["prompts"])
    with torch.inference_mode():
        log_probs = model(input_ids=ids, use_cache=False).logits[:, :-1].log_softmax(-1)
        check = log_probs.gather(-1, ids[:, 1:, None]).mean().item()
    gate = Gate()

    class Pause(transformers.TrainerCallback):
        def on_step_end(self, *_args, **_kwargs):
            gate.done.release()
            gate.go.acquire()

    count = case["groupSize"] * len(case["prompts"])
    args = trl.GRPOConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=count // case["pieces"],
        gradient_accumulation_steps=case["pieces"],
        num_generations=case["groupSize"],
        max_completion_length=case["newTokens"],
        generation_kwargs={"min_new_tokens": case["newTokens"]},
        learning_rate=case["learningRate"],
        lr_scheduler_type="constant",
        loss_type=case["aggregation"],
        gradient_checkpointing=False,
        use_cpu=True,
        bf16=False,
        max_steps=1_000_000,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    prompts = [{"prompt": " ".join(f"t{id}" for id in row)} for row in case["prompts"]]
    trainer = trl.GRPOTrainer(
        model=model,
        reward_funcs=share_of_even,
        args=args,
        train_dataset=datasets.Dataset.from_list(prompts),
        processing_class=tokenizer_of(model.config.vocab_size),
        callbacks=[Pause()],
    )

    def train():
        torch.set_num_threads(case["threads"])  # OpenMP counts them for each thread
        gate.go.acquire()
        trainer.train()

    threading.Thread(target=train, daemon=True).start()
    return f"TRL {trl.__version__}, transformers {version}, {case['variant']}", [check], gate.step
