"""What the PyTorch training peers share: the timed step, and Hugging Face's model from a checkpoint folder."""

import torch
import torch.nn.functional as F


def hugging_face(folder, attention="sdpa"):
    """transformers' own class with the folder's weights in float32, and its version."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    model = transformers.DeepseekV3ForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation=attention
    )
    return model, transformers.__version__


def training_step(forward, parameters, case, fused):
    """The step as a function that returns the loss: forward, backward, clipping to norm 1, AdamW.

    `forward` maps ids [B, T] to logits [B, T, V].
    """
    parameters = [parameter for parameter in parameters if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, lr=case["learningRate"], betas=(0.9, 0.95), weight_decay=0.0, fused=fused
    )
    ids, targets = torch.tensor(case["ids"]), torch.tensor(case["targets"]).flatten()

    def step():
        loss = F.cross_entropy(forward(ids).flatten(0, 1), targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step
