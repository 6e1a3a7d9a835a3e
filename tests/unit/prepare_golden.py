#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# The golden values of check_prepare.c: iris standardised by scikit-learn, the classes'
# balanced weights of a lopsided column, and one-hot categories.
import csv
import sys

import numpy
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.class_weight import compute_class_weight

rows = list(csv.DictReader(open(sys.argv[1])))
names = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
x = numpy.array([[float(r[n]) for n in names] for r in rows])
scaler = StandardScaler().fit(x)
print("mean", scaler.mean_.tolist())
print("std", scaler.scale_.tolist())
for i in (0, 75, 149):
    print("row", i, scaler.transform(x)[i].tolist())
y = ["a", "b", "b", "b"]
print("balanced", compute_class_weight("balanced", classes=numpy.array(["a", "b"]), y=y))
encoder = OneHotEncoder(handle_unknown="ignore").fit([["red"], ["blue"], ["green"], ["blue"]])
print("categories", encoder.categories_)
print("one-hot", encoder.transform([["red"], ["mauve"], ["blue"]]).toarray().tolist())
