"""A trained student becomes one ONNX graph that answers as the student does, or nothing is left.

Knows nothing of training. Imported only to export: reading needs `students.common.graphs` alone.

    gen-msa export students/text/student --onnx --int8
"""
