% Explaining away: a second observation lowers the belief in the first cause.
%% answer: rain  0.5609756097560976
%% answer: sprinkler  0.6634146341463415

0.1::rain.
0.4::sprinkler.

wet :- rain.
wet :- sprinkler.
0.9::cloudy :- rain.
0.2::cloudy.

query(rain).
query(sprinkler).
evidence(wet).
evidence(cloudy).
