"""Export a trained student as one ONNX graph that gives the same answers.

Imported only for the export; prediction needs `models.inference.onnx_runtime` alone.

    gen-msa export students/text/student --onnx --int8
"""
