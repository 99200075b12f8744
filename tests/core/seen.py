"""All that can be seen of a model or a folder, to be compared before and after."""

import os

import torch


def of_model(model):
    """Return modules, attributes, numbers, ties, and what trains."""
    seen = []
    for name, module in model.named_modules(remove_duplicate=False):
        seen.append((name, type(module), id(module), module.training, sorted(vars(module))))
        seen.append((getattr(module, "merged", None), getattr(module, "lora_config", None)))
        for key, tensor in [*module._parameters.items(), *module._buffers.items()]:
            if tensor is not None:
                numbers = tensor.detach().contiguous().reshape(-1)
                held = None if tensor.is_meta else numbers.view(torch.uint8).tolist()
                seen.append((key, id(tensor), tensor.requires_grad, tensor.dtype, held))
    return seen


def of_folder(folder):
    """Return what every path in it is and holds, but for when it was last read."""
    seen = {}
    for path in sorted(folder.rglob("*")):
        about, content = path.lstat(), None
        if path.is_symlink():
            content = os.readlink(path)
        elif path.is_file() and about.st_size < 10**6:
            content = path.read_bytes()
        own = (about.st_mode, about.st_ino, about.st_size, about.st_mtime_ns, content)
        seen[str(path.relative_to(folder))] = own
    return seen
