"""The families of environments of other JAX packages as plain strings: names, and the ids that can be bridged.

Like ``tasks``, it is read by two registries, and imports nothing. Packages may know more ids than these.
"""

_GYMNAX = (
    "CartPole-v1 Pendulum-v1 Acrobot-v1 MountainCar-v0 MountainCarContinuous-v0 Asterix-MinAtar Breakout-MinAtar "
    "Freeway-MinAtar Seaquest-MinAtar SpaceInvaders-MinAtar Catch-bsuite DeepSea-bsuite MemoryChain-bsuite "
    "UmbrellaChain-bsuite DiscountingChain-bsuite MNISTBandit-bsuite SimpleBandit-bsuite FourRooms-misc MetaMaze-misc "
    "PointRobot-misc BernoulliBandit-misc GaussianBandit-misc Reacher-misc Swimmer-misc Pong-misc FrozenLake-misc"
)
_BRAX = (
    "ant fast halfcheetah hopper humanoid humanoidstandup inverted_double_pendulum inverted_pendulum pusher reacher "
    "swimmer walker2d"
)
_CRAX = (
    "safe_goal_point safe_button_point safe_circle_point safe_push_point safe_height_humanoid safe_lift_ant "
    "safe_lift_humanoid safe_lift_spider safe_pathway_walker2d safe_reacher safe_velocity_ant safe_velocity_humanoid "
    "safe_velocity_halfcheetah safe_velocity_hopper safe_velocity_swimmer safe_velocity_walker2d"
)
_JUMANJI = (
    "BinPack-v2 CVRP-v1 Cleaner-v0 FlatPack-v0 Game2048-v1 GraphColoring-v1 JobShop-v0 Knapsack-v1 MMST-v0 Maze-v0 "
    "Minesweeper-v0 MultiCVRP-v0 PacMan-v1 RobotWarehouse-v0 RubiksCube-partly-scrambled-v0 RubiksCube-v0 "
    "SlidingTilePuzzle-v0 Snake-v1 Sokoban-v0 Sudoku-v0 Sudoku-very-easy-v0 TSP-v1 Tetris-v0"
)
_PGX = "minatar-breakout minatar-asterix minatar-freeway minatar-seaquest minatar-space_invaders 2048"
_PLAYGROUND = (
    "AcrobotSwingup AcrobotSwingupSparse BallInCup CartpoleBalance CartpoleBalanceSparse CartpoleSwingup "
    "CartpoleSwingupSparse CheetahRun FingerSpin FingerTurnEasy FingerTurnHard FishSwim HopperHop HopperStand "
    "HumanoidRun HumanoidStand HumanoidWalk PendulumSwingup PointMass ReacherEasy ReacherHard SwimmerSwimmer6 "
    "WalkerRun WalkerStand WalkerWalk ApolloJoystickFlatTerrain BarkourJoystick "
    "BerkeleyHumanoidJoystickFlatTerrain BerkeleyHumanoidJoystickRoughTerrain G1JoystickFlatTerrain "
    "G1JoystickRoughTerrain Go1Footstand Go1Getup Go1Handstand Go1JoystickFlatTerrain Go1JoystickRoughTerrain "
    "H1InplaceGaitTracking H1JoystickGaitTracking Op3Joystick SpotFlatTerrainJoystick SpotGetup "
    "SpotJoystickGaitTracking T1JoystickFlatTerrain T1JoystickRoughTerrain AeroCubeRotateZAxis AlohaHandOver "
    "AlohaSinglePegInsertion LeapCubeReorient LeapCubeRotateZAxis PandaOpenCabinet PandaPickCube "
    "PandaPickCubeCartesian PandaPickCubeOrientation PandaRobotiqPushCube"
)

#: Each family with a line about it and its ids.
JAX_FAMILIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "brax": ("Brax's robots", tuple(_BRAX.split())),
    "crax": ("CRAX: constrained tasks on MuJoCo XLA", tuple(_CRAX.split())),
    "gymnax": ("gymnax: classic control, MinAtar, bsuite", tuple(_GYMNAX.split())),
    "jumanji": ("Jumanji: combinatorial problems", tuple(_JUMANJI.split())),
    "pgx": ("pgx: MinAtar and 2048", tuple(_PGX.split())),
    "playground": ("MuJoCo Playground", tuple(_PLAYGROUND.split())),
}


def gymnasium_name(family: str, env_id: str) -> str:
    """The id in Gymnasium, which would read the colon of ``"gymnax:CartPole-v1"`` as a module to import."""
    return f"spi/{family}.{env_id}"
