"""LoRA, Low-Rank Adaptation, in code one can read in an hour.

A pretrained weight ``W0`` of shape ``(out_features, in_features)`` stays frozen. What is learned is
an update of low rank,

    W = W0 + scaling * lora_B @ lora_A,      scaling = lora_alpha / r,

with ``lora_A`` of shape ``(r, in_features)`` and ``lora_B`` of shape ``(out_features, r)``.

The core, each module one idea (each imports only what stands behind it):

=============== ================================================================ ==============
``names``       models as people call them                                       standard library
``counting``    parameters, bytes and multiply-adds in closed form               standard library
``lowrank``     truncated SVD, measures of rank, subspaces                       NumPy
``reference``   LoRA in NumPy: forward, gradients by hand, merge                 NumPy
``layers``      ``LoRALinear``: the same mathematics in PyTorch                  torch
``_fused``      its fast path, with the gradients of ``reference``               torch
``adapt``       LoRA for a whole model: add, merge, count                        ``layers``
``checkpoint``  adapters in PEFT's file format                                   ``adapt``
``quantize``    NF4, the 4-bit type of QLoRA, from scratch                       torch
``variants``    LoRA's descendants, each in the fewest honest lines              ``adapt``
=============== ================================================================ ==============

After the course one uses ``lora_edu.finetune`` on one's own texts, ``lora_edu.assets`` (real
weights and text, hash-checked) and ``lora_edu.cli``, the command ``lora-edu``. What the notebooks
need around all this is in ``lora_edu.course``: tools, and a folder for each lesson. Importing
``lora_edu`` itself loads neither NumPy nor torch.

Source of the method: Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, 2021
(arXiv:2106.09685).
"""

__version__ = "0.3.0"
