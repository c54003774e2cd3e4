"""What students share: rows made into batches, packaged weights, folders written and read.

Knows no student.

    from gen_msa.students.common.keeping import open_student
"""
