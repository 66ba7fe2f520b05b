% The arrow '<-' in place of ':-'.
%% answer: damage(roof)  0.18
%% answer: damage(wall)  0.12
%% answer: repair  0.3

0.3::storm.
0.6::damage(roof); 0.4::damage(wall) <- storm.
repair <- damage(_).

query(damage(_)).
query(repair).
