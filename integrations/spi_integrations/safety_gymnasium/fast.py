"""Observations and costs of safety-gymnasium's tasks, computed with fewer calls into MuJoCo.

Upstream looks up bodies and geoms by name at every reading, and computes the lidar with arrays of two numbers.
Here names are resolved once per model, that is, once per episode, and the lidar uses plain floats. Costs and
rewards are the same bit for bit, observations up to the rounding of a rotation.
"""

import cmath
import math
from typing import Any, NamedTuple

import mujoco
import numpy as np

from spi_integrations.safety_gymnasium import upstream

_TURN = 2 * math.pi
# Obstacles whose cost counts the robot's contacts: key of the cost, name of its price, prefix of the geoms.
_CONTACTS = {
    "vases": ("cost_vases_contact", "contact_cost", "vase"),
    "pillars": ("cost_pillars", "cost", "pillar"),
    "gremlins": ("cost_gremlins", "contact_cost", "gremlin"),
    "buttons": ("cost_buttons", "cost", "button"),
}


class Found(NamedTuple):
    """Names that were resolved in a model.

    Attributes:
        model: the model.
        bodies: by obstacle, the rows of its bodies in ``xpos``; ``None`` if its position is not a body's.
        robot: ids of the robot's geoms.
        geoms: name of each geom.
        jacobian: ``[3, nv]``, a buffer.
        mocaps: by moving obstacle, the rows in ``mocap_pos``.
    """

    model: Any
    bodies: dict[str, list[int] | None]
    robot: frozenset[int]
    geoms: list[str]
    jacobian: np.ndarray[Any, Any]
    mocaps: dict[str, list[int]]


class FastTask(upstream.BaseTask):  # type: ignore[misc]
    """Replaces upstream's readings; a mixin before its task."""

    _known: Found | None = None

    def obs(self) -> Any:
        """The observation; flat, in the order of the observation space, unless the task has pictures."""
        mujoco.mj_forward(self.model, self.data)
        found, parts = self._found(), self.agent.obs_sensor()
        for obstacle in self._obstacles:
            if obstacle.is_lidar_observed:
                parts[f"{obstacle.name}_lidar"] = self._lidar(self._positions(found, obstacle))
            if getattr(obstacle, "is_comp_observed", False):
                parts[f"{obstacle.name}_comp"] = self._obs_compass(obstacle.pos)
        buttons = getattr(self, "buttons", None)
        if buttons is not None and buttons.timer != 0:
            parts["buttons_lidar"] = np.zeros(self.lidar_conf.num_bins)
        if self.observe_vision:
            parts["vision"] = self._obs_vision()
        if not self.observation_flatten:
            return parts
        return np.concatenate([np.ravel(parts[name]) for name in self.obs_info.obs_space_dict.spaces])

    def calculate_cost(self) -> dict[str, Any]:
        """The costs of a step, before upstream turns each into 0 or 1."""
        mujoco.mj_forward(self.model, self.data)
        found = self._found()
        touched = [
            pair
            for pair in self.data.contact.geom.tolist()
            if pair[0] in found.robot or pair[1] in found.robot
        ]
        names = [(found.geoms[first], found.geoms[second]) for first, second in touched]
        costs: dict[str, Any] = {}
        for obstacle in self._obstacles:
            if obstacle.name == "hazards" and obstacle.is_constrained:
                costs["cost_hazards"] = self._hazards(found, obstacle)
            elif obstacle.name in _CONTACTS:
                costs.update(self._contacts(found, obstacle, names))
            else:
                costs.update(obstacle.cal_cost())
        if self._is_load_static_geoms and self.static_geoms_contact_cost:
            walls = self.static_geoms_names
            count = sum(first in walls or second in walls for first, second in names)
            costs["cost_static_geoms_contact"] = count * self.static_geoms_contact_cost
        costs["cost_sum"] = sum(costs.values())
        return costs

    def simulation_forward(self, action: Any) -> bool:
        """Act, computing the positions of moving obstacles once per physics step."""
        if not self._mocaps or self.debug:
            exception: bool = super().simulation_forward(action)
            return exception
        model, data, found = self.model, self.data, self._found()
        self.agent.apply_action(action)
        conf = self.sim_conf
        for _ in range(self.random_generator.binomial(conf.frameskip_binom_n, conf.frameskip_binom_p)):
            phase = data.time
            for mocap in self._mocaps.values():
                x, y = np.sin(phase) * mocap.travel, np.cos(phase) * mocap.travel
                data.mocap_pos[found.mocaps[mocap.name]] = (x, y, mocap.size)
            mujoco.mj_step(model, data)
        mujoco.mj_forward(model, data)
        return False

    def _obs_lidar_pseudo(self, positions: Any) -> Any:
        return self._lidar(np.array(positions, ndmin=2)[:, :2].tolist())

    def _lidar(self, positions: list[list[float]]) -> Any:
        """The proximity of things in bins around the robot, as upstream's ``_obs_lidar_pseudo``."""
        conf = self.lidar_conf
        bins, reach = conf.num_bins, conf.max_dist
        if conf.type != "pseudo":
            raise ValueError(f"lidar_conf.type must be 'pseudo' with fast=True, got {conf.type!r}.")
        (x, y, z), (first, second, third) = self.agent.pos.tolist(), self.agent.mat.tolist()
        readings, width = [0.0] * bins, _TURN / bins
        for position in positions:
            dx, dy = position[0] - x, position[1] - y
            place = complex(
                dx * first[0] + dy * second[0] - z * third[0], dx * first[1] + dy * second[1] - z * third[1]
            )
            distance, angle = abs(place), cmath.phase(place) % _TURN
            near = math.exp(-conf.exp_gain * distance) if reach is None else max(0, reach - distance) / reach
            # An angle just below 0 is rounded up to a whole turn.
            index = int(angle / width)
            share = (angle - width * index) / width
            index, after, before = index % bins, (index + 1) % bins, (index - 1) % bins
            readings[index] = max(readings[index], near)
            if conf.alias:
                readings[after] = max(readings[after], share * near)
                readings[before] = max(readings[before], (1 - share) * near)
        return np.array(readings)

    def _positions(self, found: Found, obstacle: Any) -> list[list[float]]:
        rows = found.bodies[obstacle.name]
        if rows is None:
            plain: list[list[float]] = np.array(obstacle.pos, ndmin=2)[:, :2].tolist()
            return plain
        places: list[list[float]] = self.data.xpos[rows].tolist()
        return places

    def _hazards(self, found: Found, hazards: Any) -> float:
        cost = 0.0
        for position in self._positions(found, hazards):
            distance = self.agent.dist_xy(position)
            if distance <= hazards.size:
                cost += hazards.cost * (hazards.size - distance)
        return cost

    def _contacts(self, found: Found, obstacle: Any, names: list[tuple[str, str]]) -> dict[str, Any]:
        if not obstacle.is_constrained or (obstacle.name == "buttons" and obstacle.timer != 0):
            return {}
        key, price, prefix = _CONTACTS[obstacle.name]
        right = f"button{obstacle.goal_button}" if obstacle.name == "buttons" else None
        count = sum(
            (first.startswith(prefix) or second.startswith(prefix)) and right not in (first, second)
            for first, second in names
        )
        costs = {key: count * getattr(obstacle, price)}
        if obstacle.name == "vases":
            costs["cost_vases_velocity"] = self._vases_move(found, obstacle)
        return costs

    def _vases_move(self, found: Found, vases: Any) -> float:
        cost = 0.0
        for body in found.bodies["vases"] or ():
            mujoco.mj_jacBody(self.model, self.data, found.jacobian, None, body)
            velocity = np.sqrt(np.sum(np.square(np.dot(found.jacobian, self.data.qvel))))
            if velocity >= vases.velocity_threshold:
                cost += float(velocity * vases.velocity_cost)
        return cost

    def _found(self) -> Found:
        """The names, resolved in the current model."""
        if self._known is None or self._known.model is not self.model:
            model = self.model
            geoms = [model.geom(geom).name for geom in range(model.ngeom)]
            robot = set(self.agent.body_info.geom_names)
            self._known = Found(
                model=model,
                bodies={obstacle.name: self._bodies(obstacle) for obstacle in self._obstacles},
                robot=frozenset(geom for geom, name in enumerate(geoms) if name in robot),
                geoms=geoms,
                jacobian=np.zeros((3, model.nv)),
                mocaps={
                    name: [
                        int(model.body(f"{name[:-1]}{index}mocap").mocapid[0]) for index in range(mocap.num)
                    ]
                    for name, mocap in self._mocaps.items()
                },
            )
        return self._known

    def _bodies(self, obstacle: Any) -> list[int] | None:
        """The rows of an obstacle's bodies, if their positions are those that upstream reports."""
        name, end = obstacle.name, "obj" if obstacle.name in self._mocaps else ""
        names = (
            [f"{name[:-1]}{index}{end}" for index in range(obstacle.num)]
            if hasattr(obstacle, "num")
            else [name]
        )
        rows = [mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_BODY, body) for body in names]
        if -1 in rows or not np.array_equal(self.data.xpos[rows], np.array(obstacle.pos, ndmin=2)):
            return None
        return rows
