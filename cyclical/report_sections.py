"""What stands on a run's report, in this order: the one place that says it.

A part whose artifact a run has not is left out, and so is a section without parts. A new picture
needs its words in `report_words`.
"""

from cyclical import report_parts, report_words
from cyclical.report_parts import Arms, Made, Picture, Section, Table

POINTS = ("seed", "updates", "train_accuracy", "train_loss", "val_accuracy", "status")
TRAININGS = (
    *("arm", "seed", "optimizer", "schedule", "epochs", "updates", "examples"),
    *("test_accuracy", "test_loss", "best_val_accuracy", "best_epoch", "epochs_to_goal"),
)

SECTIONS = (
    Section(
        "procedure",
        "The procedure",
        "From top to bottom: a step begins when those that lead to it have ended.",
        (Made(report_parts.procedure),),
    ),
    Section(
        "load_data",
        "Data and model",
        "What is trained, and on what: images of each class, and the network layer by layer.",
        (
            Picture("samples", "Training images", report_words.samples),
            Table("data", "class_counts", "Images of each class", ("name", "train", "test")),
            Table("model", "model_summary", "Layers of the network", folded=True),
        ),
    ),
    Section(
        "lr_sweep",
        "Sweep of the learning rate",
        "One short training for each rate: too low a rate learns little, too high a rate diverges.",
        (
            Table("sweep", "sweep", "Each learning rate, means over the seeds"),
            Table("sweep", "points", "Each training", ("learning_rate", *POINTS), folded=True),
        ),
        when=lambda config: config.lr_sweep.method == "sweep",
    ),
    Section(
        "lr_sweep",
        "Range test",
        "One training while the rate rises: loss falls where the rate is right, and then soars.",
        (Table("range-test", "points", "Each run of the test"),),
        when=lambda config: config.lr_sweep.method == "range_test",
    ),
    Section(
        "lr_sweep",
        "Sweep of the learning rate, predicted by the clock",
        "Two short trainings predict what a training at each rate would end with; "
        "nothing is validated.",
        (
            Table("sweep", "sweep", "Each learning rate, as predicted"),
            Table("range-test", "points", "The range test before it", folded=True),
        ),
        when=lambda config: config.lr_sweep.method == "clock",
    ),
    Section(
        "lr_bounds",
        "Bounds of the learning rate",
        "Cycle between lr_min, from which on a training learns well, and lr_max, "
        "beyond which it gains little or turns worse.",
        (
            Picture("lr_sweep", "The sweep with its bounds", report_words.lr_sweep),
            Picture("range_test", "The range test with its bounds", report_words.range_test),
            Picture("clock", "The predicted sweep with its bounds", report_words.clock),
            Table("bounds", "bounds", "The bounds"),
            Table("bounds", "rules", "What each rule says, before it is snapped to a swept rate"),
        ),
    ),
    Section(
        "clr_training",
        "Cyclical learning rate",
        "The rate rises and falls within each cycle; loss and accuracy should gain from cycle "
        "to cycle. By triangular2 and exp_range the amplitude decays, which may be why it gains on "
        "a fixed rate.",
        (Arms(),),
    ),
    Section(
        "batch_sweep",
        "Sweep of the batch size",
        "One short training for each size at lr_min. In as many epochs larger batches make fewer "
        "updates, and learn less; batch_sweep.budget=updates gives all the same.",
        (
            Table("sweep", "sweep", "Each batch size, means over the seeds"),
            Table("sweep", "points", "Each training", ("batch_size", *POINTS), folded=True),
        ),
    ),
    Section(
        "batch_bounds",
        "Bounds of the batch size",
        "Cycle between bmin and bmax: the stretch of sizes over which each doubling costs little "
        "accuracy.",
        (
            Picture("batch_sweep", "The sweep with its bounds", report_words.batch_sweep),
            Table("bounds", "bounds", "Each size, and what the step to the next one costs"),
            Made(report_parts.algorithm),
            Table("noise", "noise", "Gradient noise scale, in examples, after each epoch"),
            Picture(
                "learning_clock",
                "Both sweeps at equal sums of rates, first epochs pale: on one curve, only updates "
                "tell sizes apart",
                report_words.learning_clock,
                "sums-pictures",
            ),
            Table("sums", "sums", "Each size beside the sweep of the rate, at the same sum"),
        ),
    ),
    Section(
        "cyclic_batch_training",
        "Cyclic batch size",
        "The size changes from epoch to epoch; the loss of small batches is noisier.",
        (Arms(),),
    ),
    Section(
        "effective_batch_training",
        "Effective batch size",
        "Gradients of several micro-batches are averaged for one update, of as many each time "
        "or of more and fewer.",
        (Arms(),),
    ),
    Section(
        "combined_training",
        "Both cycling",
        "The learning rate follows the batch size: larger batches, larger steps.",
        (Arms(),),
    ),
    Section(
        "fixed_training",
        "Fixed settings",
        "What cycling has to beat: one learning rate and one batch size throughout.",
        (Arms(),),
    ),
    Section(
        "comparison",
        "Comparison of all arms",
        "Higher is better, and sooner is better; lines of different optimizers start from "
        "different baselines, so compare an arm with the fixed one of its own.",
        (
            Made(report_parts.compared),
            Made(report_parts.by_epoch),
            Picture(
                "validation_accuracy",
                "Validation accuracy by epoch, a panel an optimizer",
                report_words.validation_accuracy,
            ),
            Picture(
                "accuracy_by_updates",
                "The same against the number of updates",
                report_words.validation_accuracy,
            ),
            Picture(
                "accuracy_by_seconds",
                "The same against the time that it took",
                report_words.validation_accuracy,
                "seconds-pictures",
            ),
            Table("comparison", "comparison", "Every training", TRAININGS, folded=True),
        ),
    ),
    Section(
        "published",
        "Beside the published run",
        "Ours minus theirs; of several seeds, low and high say where one more run of ours would "
        "lie by chance.",
        (Made(report_parts.published),),
    ),
)
