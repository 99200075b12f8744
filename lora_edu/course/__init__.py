"""The course around the core: tools that know no lesson, and a folder for each lesson."""

# The lessons that there are, in the order of the course; each is a folder here and, with its
# number, a source in notebooks/src.
LESSONS = (
    "first_words",
    "matrix_example",
    "rank_and_svd",
    "learning_the_update",
    "language_model",
    "intrinsic_rank",
    "counting_parameters",
    "merging",
    "real_model",
    "inside_the_update",
    "beyond_lora",
)
