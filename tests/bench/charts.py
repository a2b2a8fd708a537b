"""Drawings as SVG, without a library: bar charts of results, flame graphs of profiles. Pure: data in, text out."""
from xml.sax.saxutils import escape

COLOURS = {"nodepass": "#c2410c", "direct": "#9ca3af"}
OTHER = "#4b7bb5"
FONT = 'font-family="sans-serif"'
FRAME_HEIGHT, FLAME_WIDTH = 17, 1200


def svg(width, height, parts):
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">\n'
            f'<rect width="{width}" height="{height}" fill="#ffffff"/>\n' + "\n".join(parts) + "\n</svg>\n")


def text(x, y, words, size=12, anchor="start", colour="#111827", more=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" {FONT} font-size="{size}" text-anchor="{anchor}" fill="{colour}"{more}>{escape(words)}</text>'


def bars(title, groups, number):
    """groups: [(name, [(label, value)])]; number: value -> words. Each group has a scale of its own."""
    parts, y, left, width = [text(12, 24, title, 16, more=' font-weight="bold"')], 40, 130, 760
    room = width - left - 90
    for name, values in groups:
        y += 22
        parts.append(text(12, y, name, 13, colour="#374151"))
        top = max(v for _, v in values) or 1
        for label, v in values:
            y += 20
            length = max(1.0, room * v / top)
            parts.append(text(left - 8, y, label, 12, "end"))
            parts.append(f'<rect x="{left}" y="{y - 11}" width="{length:.1f}" height="14" fill="{COLOURS.get(label, OTHER)}"/>')
            parts.append(text(left + length + 6, y, number(v)))
        y += 8
    return svg(width, y + 16, parts)


# ------------------------------------------------------------------ flame graph

def fold(script):
    """Stacks of "perf script" as {(outermost, …, innermost): samples}."""
    stacks, frames = {}, []
    for line in script.splitlines() + [""]:
        if not line.strip():
            if frames:
                key = tuple(reversed(frames))
                stacks[key] = stacks.get(key, 0) + 1
            frames = []
        elif line[0] in " \t":
            words = line.split(None, 1)[1] if len(line.split(None, 1)) > 1 else "?"
            frames.append(words.rsplit(" (", 1)[0].split("+0x")[0])
    return stacks


def tree_of(stacks):
    """{frame: [samples, children]} from folded stacks."""
    root = [0, {}]
    for frames, samples in stacks.items():
        root[0] += samples
        node = root
        for frame in frames:
            node = node[1].setdefault(frame, [0, {}])
            node[0] += samples
    return root


def depth_of(node):
    return 1 + max((depth_of(child) for child in node[1].values()), default=0)


def colour_of(frame):
    """Kernel frames look like kernel frames by their prefix alone when perf says so; the hue says nothing else."""
    h = sum(ord(c) * (i + 7) for i, c in enumerate(frame)) % 50
    return f"rgb({205 + h},{100 + 2 * h},{40 + h})"


def flame(title, stacks):
    """A flame graph: the wider a frame, the more samples had it on the stack. Titles show on hovering."""
    root = tree_of(stacks)
    if not root[0]:
        return svg(FLAME_WIDTH, 60, [text(12, 30, title + ": no samples", 14)])
    height = (depth_of(root) + 1) * FRAME_HEIGHT + 40
    parts = [text(12, 24, f"{title}, {root[0]} samples", 15)]

    def draw(name, node, x, level):
        width = FLAME_WIDTH * node[0] / root[0]
        if width < 0.4:
            return
        y = height - (level + 1) * FRAME_HEIGHT - 8
        words = f"{name} ({100 * node[0] / root[0]:.1f} %)"
        label = name[:max(0, int(width / 7))] if width > 28 else ""
        parts.append(f'<g><title>{escape(words)}</title><rect x="{x:.1f}" y="{y}" width="{max(0.3, width - 0.3):.1f}" '
                     f'height="{FRAME_HEIGHT - 1}" fill="{colour_of(name)}"/>{text(x + 3, y + 12, label, 11) if label else ""}</g>')
        for child in sorted(node[1]):
            draw(child, node[1][child], x, level + 1)
            x += FLAME_WIDTH * node[1][child][0] / root[0]

    draw("all", root, 0, 0)
    return svg(FLAME_WIDTH, height, parts)
