"""safety-gymnasium's robots, read as scalars where NumPy 2.4 and later refuse arrays of one element."""

import functools
import math
from typing import Any

import mujoco
import numpy as np
from gymnasium import spaces

from spi_integrations.safety_gymnasium import upstream

_Array = np.ndarray[Any, Any]


class Robot(upstream.BaseAgent):  # type: ignore[misc]
    """Readings of all robots; a mixin before upstream's class, see ``robot_class``."""

    def _build_action_space(self) -> spaces.Box:
        """Ranges of the actuators, rounded to float32 as upstream does, but without its warning."""
        low, high = self.engine.model.actuator_ctrlrange.astype(np.float32).astype(np.float64).T
        return spaces.Box(low, high, dtype=np.float64)

    def _init_jnt_sensors(self) -> None:
        """Sort the sensors by what they measure; upstream's constructor calls it once."""
        model, info = self.engine.model, self.sensor_info
        lists = {
            mujoco.mjtSensor.mjSENS_JOINTPOS: info.hinge_pos_names,
            mujoco.mjtSensor.mjSENS_JOINTVEL: info.hinge_vel_names,
            mujoco.mjtSensor.mjSENS_BALLQUAT: info.ballquat_names,
            mujoco.mjtSensor.mjSENS_BALLANGVEL: info.ballangvel_names,
        }
        for sensor in range(model.nsensor):
            name = model.sensor(sensor).name
            info.sensor_dim[name] = int(model.sensor_dim[sensor])
            if model.sensor_objtype[sensor] == mujoco.mjtObj.mjOBJ_JOINT:
                lists[mujoco.mjtSensor(int(model.sensor_type[sensor]))].append(name)
            elif name == "agent_pos":
                info.freejoint_pos_name = name
            elif name == "agent_qvel":
                info.freejoint_qvel_name = name

    def obs_sensor(self) -> dict[str, _Array]:
        """What the sensors read, in upstream's order; angles as sine and cosine, quaternions as matrices."""
        info, read = self.sensor_info, self.get_sensor
        direct = [*self.sensor_conf.sensors, *info.hinge_vel_names, *info.ballangvel_names]
        readings = {name: read(name) for name in direct}
        if info.freejoint_pos_name:
            readings[info.freejoint_pos_name] = read(info.freejoint_pos_name)[2:]
        if info.freejoint_qvel_name:
            readings[info.freejoint_qvel_name] = read(info.freejoint_qvel_name)
        for name in info.hinge_pos_names:
            angle = read(name)[0]
            readings[name] = np.array([np.sin(angle), np.cos(angle)])
        for name in info.ballquat_names:
            readings[name] = upstream.rotation_of(read(name))
        return readings


class FastRobot(Robot):
    """Looks up bodies and sensors once per model instead of at every reading."""

    _found: Any = None

    def _find(self) -> None:
        model = self.engine.model
        if self._found is model:
            return
        self._found = model
        self._body = model.body("agent").id
        ends = np.cumsum(model.sensor_dim).tolist()
        starts = model.sensor_adr.tolist()
        self._slices = {
            model.sensor(sensor).name: slice(starts[sensor], ends[sensor]) for sensor in range(model.nsensor)
        }

    def get_sensor(self, name: str) -> _Array:
        """Read one sensor."""
        self._find()
        reading: _Array = self.engine.data.sensordata[self._slices[name]].copy()
        return reading

    def dist_xy(self, pos: Any) -> float:
        """Distance in the plane to a position, in meters."""
        x, y, _ = self.pos.tolist()
        dx, dy = float(pos[0]) - x, float(pos[1]) - y
        # Not ** 2, which may round differently from a product: rewards would differ in the last bit.
        return math.sqrt(dx * dx + dy * dy)

    @property
    def pos(self) -> _Array:
        """Position in the world, in meters, ``[3]``."""
        self._find()
        position: _Array = self.engine.data.xpos[self._body].copy()
        return position

    @property
    def mat(self) -> _Array:
        """Rotation in the world, ``[3, 3]``."""
        self._find()
        rotation: _Array = self.engine.data.xmat[self._body].reshape(3, 3).copy()
        return rotation


@functools.cache
def robot_class(name: str, fast: bool) -> type[Any]:
    """Upstream's class of a robot, such as ``"Point"``, with the readings above.

    The name is kept, because upstream uses it to find the robot's XML.
    """
    return type(name, (FastRobot if fast else Robot, getattr(upstream.agents, name)), {})
