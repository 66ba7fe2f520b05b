% A Markov chain of three states, eight steps long.
%% answer: day(8,sun)  0.540558605
%% answer: day(8,rain)  0.2161689625
%% answer: day(8,fog)  0.2432724325

0.5::day(0, sun); 0.25::day(0, rain); 0.25::day(0, fog).
0.7::day(T, sun); 0.2::day(T, rain); 0.1::day(T, fog) :- T > 0, S is T - 1, day(S, sun).
0.3::day(T, sun); 0.5::day(T, rain); 0.2::day(T, fog) :- T > 0, S is T - 1, day(S, rain).
0.4::day(T, sun); 0.6::day(T, fog) :- T > 0, S is T - 1, day(S, fog).

query(day(8, _)).
