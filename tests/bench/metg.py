# SPDX-License-Identifier: Apache-2.0
"""Efficiency against task length, as a picture: python3 metg.py RESULT_DIR >metg.svg

The curve tells how small tasks may be: at 50 % as much goes into running them as into
their work (METG, minimum effective task granularity)."""
import json
import math
import os
import sys

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 60, 20, 50, 50
FIRST, LAST = 1.0, 1e6
LENGTHS = ((1, "1 µs"), (10, "10 µs"), (100, "100 µs"), (1000, "1 ms"), (10000, "10 ms"),
           (100000, "100 ms"), (1000000, "1 s"))
COLOURS = {"raywf": "#0b62a4", "ray": "#c44e1c"}


def x_of(us):
    share = math.log(us / FIRST) / math.log(LAST / FIRST)
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def y_of(efficiency):
    return HEIGHT - BOTTOM - min(efficiency, 1) * (HEIGHT - TOP - BOTTOM)


def text(x, y, words, anchor="middle", more=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>{words}</text>'


def axes():
    out = []
    for percent in (0, 25, 50, 75, 100):
        y = y_of(percent / 100)
        dash = ' stroke-dasharray="5 4" stroke="#888"' if percent == 50 else ' stroke="#ddd"'
        out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"{dash}/>')
        out.append(text(LEFT - 8, y + 4, f"{percent} %", "end"))
    for us, name in LENGTHS:
        x = x_of(us)
        out.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="#eee"/>')
        out.append(text(x, HEIGHT - BOTTOM + 18, name))
    out.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, "length of a task"))
    return out


def curve(points, colour):
    path = " ".join(f"{x_of(p['us']):.1f},{y_of(p['efficiency']):.1f}" for p in points)
    out = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.5"/>']
    for p in points:
        out.append(f'<circle cx="{x_of(p["us"]):.1f}" cy="{y_of(p["efficiency"]):.1f}" r="3.5" '
                   f'fill="{colour}"><title>{p["us"]} us: {p["efficiency"]:.1%} '
                   f'({p["count"]} tasks)</title></circle>')
    return out


def main():
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
           'font-family="sans-serif" font-size="12" fill="#333">',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
           text(LEFT, 22, "Share of the cores' time that is the tasks' own work", "start",
                'font-size="15" font-weight="bold"')]
    out += axes()
    at = LEFT
    for name, colour in COLOURS.items():
        path = os.path.join(sys.argv[1], name + ".json")
        if not os.path.exists(path):
            continue
        with open(path, encoding="utf-8") as f:
            found = json.load(f)
        if not found.get("metg"):
            continue
        out += curve(found["metg"], colour)
        out.append(f'<rect x="{at}" y="32" width="12" height="4" fill="{colour}"/>')
        label = f"{found['system']}, tasks in {found['language']}, {found['cpus']} cores"
        out.append(text(at + 18, 39, label, "start"))
        at += 250
    print("\n".join(out + ["</svg>"]))


if __name__ == "__main__":
    main()
