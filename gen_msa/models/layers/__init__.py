"""What students share: rows made into batches, packaged weights, folders written and read.

Knows no student.

    from gen_msa.models.inference.serialization import open_student
"""
