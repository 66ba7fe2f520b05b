% Queries with some arguments fixed, overlapping each other.
%% answer: at(mon,gym)  0.5
%% answer: at(mon,pool)  0.4
%% answer: at(tue,gym)  0.3
%% answer: at(tue,pool)  0

0.5::at(mon, gym).
0.4::at(mon, pool).
0.3::at(tue, gym).

query(at(mon, _)).
query(at(_, gym)).
query(at(tue, pool)).
