#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
"""cases.py PROGRAM [unittest's arguments]: what sluice-inject does with one manifest each."""
import sys
import unittest

# unittest.main() runs all tests that have a name here.
# pylint: disable=unused-import
from annotation_cases import AgainTest, AnnotationTest
from case import Case
from decision_cases import DecisionTest, KindsTest
from injector import Injector
from mtls_cases import MtlsTest
from program_cases import ProgramTest
from text_cases import TextTest

if __name__ == "__main__":
    Case.injector = Injector(sys.argv.pop(1))
    unittest.main()
