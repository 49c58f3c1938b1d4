"""What TensorBoard's table of hyperparameters reads."""

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData


def row(folder):
    """The columns of a run's row, and the curves whose last points are columns too."""
    content = EventAccumulator(str(folder)).Reload().PluginTagToContent("hparams")
    session = HParamsPluginData.FromString(content["_hparams_/session_start_info"]).session_start_info.hparams
    experiment = HParamsPluginData.FromString(content["_hparams_/experiment"]).experiment
    columns = {name: getattr(value, str(value.WhichOneof("kind"))) for name, value in session.items()}
    return columns, tuple(info.name.tag for info in experiment.metric_infos)
