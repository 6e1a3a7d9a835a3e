#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# tune_curves.py >tune_curves.h: learning curves for check_tune_simulate, as parameters of
# floor + height * t^-rate + noise. Configurations differ in where they end and how fast they get
# there, and some that end well start slowly, so that curves cross.
import random

rng = random.Random(20261128)
print("/* SPDX-License-Identifier: Apache-2.0 */")
print("/* Made by tune_curves.py. */")
print("static const struct curve {\n    float floor, height, rate, noise;\n} curves[] = {")
for _ in range(256):
    quality = rng.betavariate(1.5, 3)
    floor = 0.05 + 1.2 * quality + 0.02 * rng.random()
    height = 1.0 + 1.5 * rng.random()
    rate = min(max(rng.gauss(0.75 - 0.25 * quality, 0.12), 0.25), 1.3)
    print("    {%.4ff, %.4ff, %.4ff, %.4ff}," % (floor, height, rate, 0.02 * rng.random()))
print("};")
