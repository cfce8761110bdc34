# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""JSON Patch, as far as sluice-inject writes it."""
import copy


def apply_patch(document, patch):
    """RFC 6902, only the operations in use."""
    document = copy.deepcopy(document)
    for step in patch:
        keys = [key.replace("~1", "/").replace("~0", "~") for key in step["path"].split("/")[1:]]
        target = document
        for key in keys[:-1]:
            target = target[int(key)] if isinstance(target, list) else target[key]
        last = keys[-1]
        if isinstance(target, list):
            index = int(last)
            assert 0 <= index <= len(target), step["path"]
            if step["op"] == "add":
                target.insert(index, step["value"])
            elif step["op"] == "remove":
                del target[index]
            else:
                target[index] = step["value"]
        elif step["op"] == "remove":
            del target[last]
        else:
            assert step["op"] == "add" or last in target, step["path"]
            target[last] = step["value"]
    return document
